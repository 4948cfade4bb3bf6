#include "cuda/fiber.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define AWQ_FIBER_ASAN
#elif __has_feature(thread_sanitizer)
#define AWQ_FIBER_TSAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define AWQ_FIBER_ASAN
#elif defined(__SANITIZE_THREAD__)
#define AWQ_FIBER_TSAN
#endif

#if defined(AWQ_FIBER_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(AWQ_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__)
// What a call must keep goes onto the stack, whose top goes to *from; then the same from another
// stack. swapcontext does so, too, but asks the kernel for the signal mask each time, which takes
// longer than all that an emulated kernel computes in between.
extern "C" void AwqSwitchStack(void** from, void* to);
asm(R"(
    .text
    .p2align 4
    .type AwqSwitchStack, @function
AwqSwitchStack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size AwqSwitchStack, .-AwqSwitchStack
)");
#endif

namespace awq::cuda::simt {
namespace {

constexpr std::size_t kPoisonedBytes = 8 << 10;

}  // namespace

Fiber::Fiber(std::size_t stack_bytes)
    : stack_(new unsigned char[stack_bytes]), bottom_(stack_.get()), bytes_(stack_bytes) {
#if defined(AWQ_FIBER_TSAN)
  sanitizer_ = __tsan_create_fiber(0);
#endif
}

Fiber::Fiber(Fiber&& other) noexcept
    : stack_(std::move(other.stack_)),
      bottom_(other.bottom_),
      bytes_(other.bytes_),
      sanitizer_(std::exchange(other.sanitizer_, nullptr)) {}

Fiber::~Fiber() {
#if defined(AWQ_FIBER_TSAN)
  if (stack_ != nullptr && sanitizer_ != nullptr) {
    __tsan_destroy_fiber(sanitizer_);
  }
#endif
}

void Fiber::Start(void (*entry)()) {
#if defined(AWQ_FIBER_ASAN)
  // Functions that never returned have left their marks.
  __asan_unpoison_memory_region(stack_.get(), bytes_);
#endif
  const std::size_t poisoned = std::min(kPoisonedBytes, bytes_);
  std::memset(stack_.get() + bytes_ - poisoned, 0xff, poisoned);
#if defined(__x86_64__)
  // Six registers, where to return to, and what `entry` takes for its caller's place: that one is
  // at 8 beyond a multiple of 16, as in every function.
  constexpr std::size_t kWords = 8;
  const auto end = reinterpret_cast<std::uintptr_t>(stack_.get() + bytes_) / 16 * 16;
  auto* const words = reinterpret_cast<void**>(end) - kWords;
  std::fill_n(words, kWords, nullptr);
  words[6] = reinterpret_cast<void*>(entry);
  top_ = words;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = bytes_;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#endif
}

void Fiber::SwitchTo(Fiber& to, [[maybe_unused]] bool last) {
#if defined(AWQ_FIBER_ASAN)
  __sanitizer_start_switch_fiber(last ? nullptr : &sanitizer_, to.bottom_, to.bytes_);
#elif defined(AWQ_FIBER_TSAN)
  if (stack_ == nullptr) {
    sanitizer_ = __tsan_get_current_fiber();
  }
  __tsan_switch_to_fiber(to.sanitizer_, 0);
#endif
#if defined(__x86_64__)
  AwqSwitchStack(&top_, to.top_);
#else
  swapcontext(&context_, &to.context_);
#endif
#if defined(AWQ_FIBER_ASAN)
  __sanitizer_finish_switch_fiber(sanitizer_, nullptr, nullptr);
#endif
}

void Fiber::Arrive([[maybe_unused]] Fiber& from) {
#if defined(AWQ_FIBER_ASAN)
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  if (from.stack_ == nullptr) {
    from.bottom_ = bottom;
    from.bytes_ = bytes;
  }
#endif
}

}  // namespace awq::cuda::simt
