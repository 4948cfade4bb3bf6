// A stack and what runs on it, for the emulator; sanitizers are told of every switch.
#pragma once

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include <cstddef>
#include <memory>

namespace awq::cuda::simt {

class Fiber {
 public:
  Fiber() = default;  // the stack that the caller runs on
  explicit Fiber(std::size_t stack_bytes);
  Fiber(Fiber&& other) noexcept;
  Fiber& operator=(Fiber&&) = delete;
  ~Fiber();

  // entry() must end in a switch and never return. The top of the stack is filled with NaNs.
  void Start(void (*entry)());
  // Goes on in `to`, until somebody switches back. `last`: nobody will.
  void SwitchTo(Fiber& to, bool last = false);
  // First thing in an entry.
  static void Arrive(Fiber& from);

 private:
#if defined(__x86_64__)
  void* top_ = nullptr;  // of the stack, with what AwqSwitchStack has put there
#else
  ucontext_t context_ = {};
#endif
  std::unique_ptr<unsigned char[]> stack_;
  const void* bottom_ = nullptr;
  std::size_t bytes_ = 0;
  void* sanitizer_ = nullptr;  // ASan's fake stack, or TSan's fiber
};

}  // namespace awq::cuda::simt
