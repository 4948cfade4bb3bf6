// Runs kernels on the CPU, for tests: one thread block after another, its threads as fibers of the
// calling thread, which take turns where they wait for each other. What a GPU leaves to chance is
// done in the way that shows mistakes best: shared memory begins as NaNs and has guards on both
// sides, asynchronous copies and products are done as late as the kernel allows (or as early:
// Options), and threads and blocks can be taken in several orders. simt.h and ptx.h offer what
// kernels call.
//
// It cannot see: wrong instructions in the other half of a wrapper of ptx.h, memory ordering
// between blocks (their threads never run at the same time), bank conflicts and time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>

#include "cuda/fault.h"
#include "cuda/launch.h"

namespace awq::cuda::simt {

enum class Order { kForward, kBackward, kShuffled };

struct Options {
  Order order = Order::kForward;
  // Copies and products are done when they are asked for: shows a stage that is overwritten before
  // its time.
  bool early_copies = false;
};

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// Of the fiber that runs.
struct Thread {
  Index thread, block, blocks_size, grid_size;
  unsigned lane = 0, warp = 0;
};
const Thread& Self();

// Runs body() once for every thread of the launch. The fault, of kind kFailed, says what the kernel
// did that no kernel may do, and which thread of which block did it. The rest of the launch is not
// run then.
Fault Run(const LaunchShape& shape, const Options& options, const std::function<void()>& body);

class EmulatedLauncher {
 public:
  explicit EmulatedLauncher(Options options = {}) : options_(options) {}

  template <class... Parameters>
  Fault operator()(void (*kernel)(Parameters...), const LaunchShape& shape,
                   std::type_identity_t<Parameters>... arguments) const {
    return Run(shape, options_, [&] { kernel(arguments...); });
  }

 private:
  Options options_;
};

// ---- for simt.h and ptx.h, called by fibers ----

// Ends the launch with this message.
[[noreturn]] void Trap(const std::string& message);

// The launch's dynamic shared memory, aligned to 1024 bytes.
unsigned char* SharedMemory();
// Traps unless all of it lies in shared memory, at a multiple of `alignment`.
void CheckShared(const char* what, const void* address, std::size_t bytes, std::size_t alignment);
void CheckAligned(const char* what, const void* address, std::size_t alignment);

// bar.sync: until `threads` threads have come to barrier `id`.
void Barrier(unsigned id, unsigned threads);

// The lanes of `mask` meet: when the last has come, act(lanes) runs once, where lanes[i] is what
// lane i gave as `mine` and null where it is not in the mask. All must give the same `what` and
// mask.
void Meet(const char* what, unsigned mask, void* mine, void (*act)(void* const* lanes));

template <class Record, class Act>
void MeetWith(const char* what, unsigned mask, Record& mine, Act) {
  Meet(what, mask, &mine, [](void* const* lanes) {
    Record* records[32];
    for (int i = 0; i < 32; ++i) {
      records[i] = static_cast<Record*>(lanes[i]);
    }
    Act()(records);
  });
}

// Every lane of the mask gets the value that lane source(lane) gave; its own, where that lane is
// not below 32. Traps where that lane is not in the mask.
template <class T>
T Shuffle(const char* what, unsigned mask, T value, unsigned source) {
  struct Record {
    T value, result;
    unsigned source;
    const char* what;
  } mine{value, value, source, what};
  MeetWith(what, mask, mine, [](Record** lanes) {
    for (int i = 0; i < 32; ++i) {
      if (lanes[i] != nullptr && lanes[i]->source < 32) {
        const Record* from = lanes[lanes[i]->source];
        if (from == nullptr) {
          Trap(std::string(lanes[i]->what) + " reads a lane that is not in the mask");
        }
        lanes[i]->result = from->value;
      }
    }
  });
  return mine.result;
}

// cp.async of 4, 8 or 16 bytes, or as many zeros, in this thread's open group.
void CopyAsync(void* shared, const void* global, std::size_t bytes, bool zeros);
void CommitCopies();
// All but the `newest` groups are there.
void WaitCopies(unsigned newest);

// ldmatrix of 1, 2 or 4 matrices of 8 x 8 16-bit elements; `row` is 16 bytes of shared memory.
void LoadMatrices(std::uint32_t* registers, std::size_t matrices, const void* row, bool transposed);
// mma.sync m16n8k16: c += a b, exact products, summed in double and rounded once.
void MultiplyHalf(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);
void MultiplyBfloat16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);

// ---- sm_90: emulator_async.h ----

// An mbarrier is 8 bytes of shared memory. A phase of it is over after so many arrivals, when all
// bytes are there that were expected.
void MbarrierInit(void* shared, unsigned arrivals);
void MbarrierArrive(void* shared);
void MbarrierArriveAndExpect(void* shared, unsigned bytes);
// Until a phase of this parity is over: the first has parity 0, and those of parity 1 are before.
void MbarrierWait(void* shared, unsigned parity);
// cp.async.bulk: done when no thread can go on, in the order of Options or against it.
void BulkCopy(void* shared, const void* global, std::size_t bytes, void* mbarrier);
void FenceAsyncProxy();

// Of a descriptor: where shared memory begins is not 0.
std::uint32_t SharedAddress(const void* shared);
// wgmma of a warp's 16 rows of its warpgroup's 64. Registers of A and B's shared memory are read
// when the product is waited for, and its sums are NaNs until then (with early_copies all is done
// at once).
void WarpgroupFence();
void WarpgroupCommit();
void WarpgroupWait(unsigned newest);
void WarpgroupMultiply(float* c, int columns, const std::uint32_t* a, std::uint64_t descriptor,
                       bool accumulates, bool is_half);

}  // namespace awq::cuda::simt
