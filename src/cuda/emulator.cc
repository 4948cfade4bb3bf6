#include "cuda/emulator.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "cuda/emulator_async.h"
#include "cuda/fiber.h"
#include "cuda/numbers.h"

namespace awq::cuda::simt {
namespace {

constexpr std::size_t kStackBytes = 256 << 10;
constexpr std::size_t kGuardBytes = 4096;
constexpr std::size_t kSharedAlignment = 1024;
constexpr unsigned char kPoison = 0xff;  // NaN as f32, f16 and bf16
constexpr unsigned kBarriers = 16;

struct Trapped {
  std::string message;
};

// A fiber that waits does so until a counter differs from what it was.
struct Waiting {
  const char* what = nullptr;
  const std::uint64_t* counter = nullptr;
  std::uint64_t value = 0;
};

struct Copy {
  void* to;
  const void* from;  // null: zeros
  std::size_t bytes;
};

struct State {
  explicit State(Fiber&& f) : fiber(std::move(f)) {}
  Fiber fiber;
  Thread self;
  Waiting waiting;
  bool done = false;
  std::vector<Copy> open_group;
  std::deque<std::vector<Copy>> groups;
};

struct Warp {
  const char* what = nullptr;  // of the meeting that is under way
  unsigned mask = 0, arrived = 0;
  void* lanes[kWarpLanes] = {};
  std::uint64_t meetings = 0;
};

struct BarrierState {
  unsigned threads = 0, arrived = 0;
  std::uint64_t rounds = 0;
};

std::string Place(const Index& i) {
  return std::to_string(i.x)
      .append(" ")
      .append(std::to_string(i.y))
      .append(" ")
      .append(std::to_string(i.z));
}

class Machine {
 public:
  Machine(const LaunchShape& shape, const Options& options, const std::function<void()>& body);

  Fault Run();
  void RunFiber();  // what a fiber does

  State& current() { return *current_; }
  Warp& warp() { return warps_[current_->self.warp]; }
  BarrierState& barrier(unsigned id) { return barriers_[id]; }
  const LaunchShape& shape() const { return shape_; }
  const Options& options() const { return options_; }
  unsigned char* shared() { return shared_; }
  AsyncUnits& async() { return *async_; }
  void WaitFor(const char* what, const std::uint64_t& counter);

 private:
  void StartBlock(const Index& block);
  void RunBlock();
  void CheckGuards() const;
  std::string Deadlock() const;

  LaunchShape shape_;
  Options options_;
  const std::function<void()>& body_;
  std::unique_ptr<unsigned char[]> memory_;
  unsigned char* shared_ = nullptr;
  std::size_t memory_bytes_ = 0;
  std::vector<std::unique_ptr<State>> threads_;
  std::vector<unsigned> order_;
  std::vector<Warp> warps_;
  BarrierState barriers_[kBarriers];
  std::unique_ptr<AsyncUnits> async_;
  Fiber scheduler_;
  State* current_ = nullptr;
  std::string trap_;
};

thread_local Machine* machine = nullptr;

void Entry() { machine->RunFiber(); }

// Stacks outlive a launch: the next one uses them again.
std::vector<Fiber>& IdleFibers() {
  static thread_local std::vector<Fiber> fibers;
  return fibers;
}

Machine::Machine(const LaunchShape& shape, const Options& options,
                 const std::function<void()>& body)
    : shape_(shape),
      options_(options),
      body_(body),
      warps_((shape.threads + kWarpLanes - 1) / kWarpLanes) {
  memory_bytes_ = shape.shared_bytes + 2 * kGuardBytes + kSharedAlignment;
  memory_.reset(new unsigned char[memory_bytes_]);
  const auto address = reinterpret_cast<std::uintptr_t>(memory_.get()) + kGuardBytes;
  shared_ = memory_.get() + kGuardBytes +
            (kSharedAlignment - address % kSharedAlignment) % kSharedAlignment;
  async_ = std::make_unique<AsyncUnits>(shared_, shape.shared_bytes, shape, options);
  std::vector<Fiber>& idle = IdleFibers();
  for (unsigned i = 0; i < shape.threads; ++i) {
    if (idle.empty()) {
      idle.emplace_back(kStackBytes);
    }
    threads_.push_back(std::make_unique<State>(std::move(idle.back())));
    idle.pop_back();
    order_.push_back(i);
  }
  if (options.order == Order::kBackward) {
    std::reverse(order_.begin(), order_.end());
  } else if (options.order == Order::kShuffled) {
    std::shuffle(order_.begin(), order_.end(), std::mt19937(1));
  }
}

void Machine::StartBlock(const Index& block) {
  std::memset(memory_.get(), kPoison, memory_bytes_);
  std::fill(warps_.begin(), warps_.end(), Warp());
  std::fill(std::begin(barriers_), std::end(barriers_), BarrierState());
  async_->StartBlock();
  for (unsigned i = 0; i < shape_.threads; ++i) {
    State& state = *threads_[i];
    state.self = {.thread = {i, 0, 0},
                  .block = block,
                  .blocks_size = {shape_.threads, 1, 1},
                  .grid_size = {shape_.blocks.x, shape_.blocks.y, shape_.blocks.z},
                  .lane = i % kWarpLanes,
                  .warp = i / kWarpLanes};
    state.waiting = {};
    state.done = false;
    state.fiber.Start(Entry);
  }
}

void Machine::RunFiber() {
  Fiber::Arrive(scheduler_);
  try {
    body_();
    if (!current_->groups.empty() || !current_->open_group.empty()) {
      throw Trapped{"ends while its cp.async copies are under way"};
    }
  } catch (const Trapped& trapped) {
    trap_ = "block " + Place(current_->self.block) + ", thread " +
            std::to_string(current_->self.thread.x) + ": " + trapped.message;
  }
  current_->done = true;
  current_->fiber.SwitchTo(scheduler_, true);
}

void Machine::WaitFor(const char* what, const std::uint64_t& counter) {
  current_->waiting = {what, &counter, counter};
  current_->fiber.SwitchTo(scheduler_);
}

void Machine::RunBlock() {
  std::size_t finished = 0;
  while (finished < threads_.size()) {
    bool moved = false;
    for (const unsigned i : order_) {
      State& state = *threads_[i];
      const Waiting& waiting = state.waiting;
      if (state.done || (waiting.counter != nullptr && *waiting.counter == waiting.value)) {
        continue;
      }
      state.waiting = {};
      current_ = &state;
      scheduler_.SwitchTo(state.fiber);
      moved = true;
      finished += state.done ? 1 : 0;
      if (!trap_.empty()) {
        return;
      }
    }
    if (!moved && !async_->Step()) {
      trap_ = Deadlock();
      return;
    }
  }
  if (const std::string wrong = async_->EndBlock(); !wrong.empty()) {
    trap_ = "block " + Place(threads_[0]->self.block) + ": " + wrong;
  } else {
    CheckGuards();
  }
}

std::string Machine::Deadlock() const {
  std::string text = "block " + Place(threads_[0]->self.block) + ": no thread can go on:";
  std::string last;
  for (const auto& state : threads_) {
    const std::string what =
        state->done ? "has ended" : "waits at " + std::string(state->waiting.what);
    if (what != last) {
      text += " thread " + std::to_string(state->self.thread.x) + " " + what + ",";
      last = what;
    }
  }
  text.pop_back();
  return text;
}

void Machine::CheckGuards() const {
  const auto touched = [](unsigned char byte) { return byte != kPoison; };
  const unsigned char* end = shared_ + shape_.shared_bytes;
  if (std::any_of(static_cast<const unsigned char*>(memory_.get()),
                  static_cast<const unsigned char*>(shared_), touched) ||
      std::any_of(end, static_cast<const unsigned char*>(memory_.get()) + memory_bytes_, touched)) {
    const_cast<Machine*>(this)->trap_ =
        "block " + Place(threads_[0]->self.block) + ": wrote outside of its " +
        std::to_string(shape_.shared_bytes) + " bytes of shared memory";
  }
}

Fault Machine::Run() {
  const Grid& grid = shape_.blocks;
  const std::uint64_t count = std::uint64_t{grid.x} * grid.y * grid.z;
  for (std::uint64_t i = 0; i < count && trap_.empty(); ++i) {
    const std::uint64_t at = options_.order == Order::kForward ? i : count - 1 - i;
    StartBlock({static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                static_cast<unsigned>(at / grid.x / grid.y)});
    RunBlock();
  }
  for (auto& state : threads_) {
    IdleFibers().push_back(std::move(state->fiber));
  }
  return trap_.empty() ? Fault() : MakeFault(FaultKind::kFailed, trap_);
}

void Do(const Copy& copy) {
  if (copy.from == nullptr) {
    std::memset(copy.to, 0, copy.bytes);
  } else {
    std::memcpy(copy.to, copy.from, copy.bytes);
  }
  machine->async().Written(copy.to, copy.bytes);
}

}  // namespace

AsyncUnits& Async() { return machine->async(); }

void WaitForChange(const char* what, const std::uint64_t& counter) {
  machine->WaitFor(what, counter);
}

const Thread& Self() { return machine->current().self; }

Fault Run(const LaunchShape& shape, const Options& options, const std::function<void()>& body) {
  if (shape.threads == 0 || shape.threads > 1024) {
    return MakeFault(FaultKind::kFailed,
                     "a block of " + std::to_string(shape.threads) + " threads");
  }
  Machine launched(shape, options, body);
  machine = &launched;
  Fault fault = launched.Run();
  machine = nullptr;
  return fault;
}

void Trap(const std::string& message) { throw Trapped{message}; }

unsigned char* SharedMemory() { return machine->shared(); }

void CheckAligned(const char* what, const void* address, std::size_t alignment) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) {
    Trap(std::string(what) + " at an address that is no multiple of " + std::to_string(alignment));
  }
}

void CheckShared(const char* what, const void* address, std::size_t bytes, std::size_t alignment) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto begin = reinterpret_cast<std::uintptr_t>(machine->shared());
  const std::size_t size = machine->shape().shared_bytes;
  if (at < begin || at > begin + size || bytes > begin + size - at) {
    Trap(std::string(what) + " outside of the block's " + std::to_string(size) +
         " bytes of shared memory");
  }
  CheckAligned(what, address, alignment);
}

void Barrier(unsigned id, unsigned threads) {
  if (id >= kBarriers) {
    Trap("bar.sync of barrier " + std::to_string(id) + " of 16");
  }
  BarrierState& barrier = machine->barrier(id);
  if (barrier.arrived > 0 && barrier.threads != threads) {
    Trap("a barrier that others wait at for another number of threads");
  }
  barrier.threads = threads;
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    ++barrier.rounds;
    return;
  }
  machine->WaitFor("__syncthreads or bar.sync", barrier.rounds);
}

void Meet(const char* what, unsigned mask, void* mine, void (*act)(void* const* lanes)) {
  Warp& warp = machine->warp();
  const unsigned lane = Self().lane;
  if ((mask >> lane & 1u) == 0) {
    Trap(std::string(what) + " with a mask that lacks the calling lane");
  }
  if (warp.arrived == 0) {
    warp.what = what;
    warp.mask = mask;
  } else if (warp.mask != mask || std::strcmp(warp.what, what) != 0) {
    Trap(std::string(what) + " while other lanes of the warp wait at " + warp.what);
  }
  warp.lanes[lane] = mine;
  warp.arrived |= 1u << lane;
  if (warp.arrived != mask) {
    machine->WaitFor(what, warp.meetings);
    return;
  }
  act(warp.lanes);
  warp = {.meetings = warp.meetings + 1};
}

void CopyAsync(void* shared, const void* global, std::size_t bytes, bool zeros) {
  CheckShared("cp.async", shared, bytes, bytes);
  if (!zeros) {
    CheckAligned("cp.async", global, bytes);
  }
  const Copy copy{shared, zeros ? nullptr : global, bytes};
  if (machine->options().early_copies) {
    Do(copy);
  } else {
    machine->current().open_group.push_back(copy);
  }
}

void CommitCopies() {
  State& state = machine->current();
  state.groups.push_back(std::exchange(state.open_group, {}));
}

void WaitCopies(unsigned newest) {
  State& state = machine->current();
  while (state.groups.size() > newest) {
    std::for_each(state.groups.front().begin(), state.groups.front().end(), Do);
    state.groups.pop_front();
  }
}

void LoadMatrices(std::uint32_t* registers, std::size_t matrices, const void* row,
                  bool transposed) {
  struct Record {
    const void* row;
    std::uint32_t* registers;
    std::size_t matrices;
    bool transposed;
  } mine{row, registers, matrices, transposed};
  if (Self().lane < 8 * matrices) {
    CheckShared("ldmatrix", row, 16, 16);
  }
  MeetWith("ldmatrix", 0xffffffffu, mine, [](Record** lanes) {
    for (int lane = 0; lane < 32; ++lane) {
      for (std::size_t m = 0; m < lanes[lane]->matrices; ++m) {
        std::uint16_t pair[2];
        for (int i = 0; i < 2; ++i) {
          const int r = lanes[lane]->transposed ? lane % 4 * 2 + i : lane / 4;
          const int c = lanes[lane]->transposed ? lane / 4 : lane % 4 * 2 + i;
          std::memcpy(
              &pair[i],
              static_cast<const unsigned char*>(lanes[8 * m + static_cast<std::size_t>(r)]->row) +
                  2 * c,
              2);
        }
        std::memcpy(&lanes[lane]->registers[m], pair, 4);
      }
    }
  });
}

namespace {

template <class T>
float Element(std::uint32_t pair, int i) {
  return ToFloat(T{static_cast<std::uint16_t>(pair >> (16 * i))});
}

struct Fragments {
  float* c;
  const std::uint32_t *a, *b;
};

// Where an element of a fragment is: registers of PTX's m16n8k16.
template <class T>
void Multiply(Fragments** lanes) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 2; ++i) {
      for (int r = 0; r < 4; ++r) {
        a[group + r % 2 * 8][pair + i + r / 2 * 8] = Element<T>(lanes[lane]->a[r], i);
      }
      for (int r = 0; r < 2; ++r) {
        b[pair + i + r * 8][group] = Element<T>(lanes[lane]->b[r], i);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      double sum = static_cast<double>(lanes[lane]->c[i]);
      for (int k = 0; k < 16; ++k) {
        sum += static_cast<double>(a[row][k]) * static_cast<double>(b[k][column]);
      }
      lanes[lane]->c[i] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void MultiplyHalf(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  Fragments mine{c, a, b};
  MeetWith("mma.sync", 0xffffffffu, mine, [](Fragments** lanes) { Multiply<Half>(lanes); });
}

void MultiplyBfloat16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  Fragments mine{c, a, b};
  MeetWith("mma.sync", 0xffffffffu, mine, [](Fragments** lanes) { Multiply<Bfloat16>(lanes); });
}

}  // namespace awq::cuda::simt
