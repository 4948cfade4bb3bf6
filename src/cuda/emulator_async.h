// What sm_90 does beside its threads, for the emulator: barriers in shared memory that count, bulk
// copies, and products of a warpgroup.
//
// The asynchronous proxy has a view of shared memory of its own: what bulk copies write is in it at
// once, what cp.async writes after the thread's fence.proxy.async. A product traps where that view
// and shared memory differ. What threads store there by plain assignment, no fence brings into the
// view: no kernel here feeds a product so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cuda/emulator.h"

namespace awq::cuda::simt {

inline constexpr unsigned kWarpLanes = 32;

struct CountingBarrier {
  unsigned count = 0, pending = 0;
  std::int64_t bytes = 0;     // that are expected still
  std::uint64_t phases = 0;   // that are over
  bool is_published = false;  // to the asynchronous proxy
};

struct BulkCopyAsked {
  unsigned char* to;
  const unsigned char* from;
  std::size_t bytes;
  CountingBarrier* barrier;
};

// A warp's part of a wgmma.mma_async.
struct AsyncProduct {
  const std::uint32_t* a[kWarpLanes];
  float* c[kWarpLanes];
  std::vector<float> before;  // [lane][element]: c, where the product adds to it
  int columns = 0;
  std::uint64_t descriptor = 0;
  bool accumulates = false, is_half = false;
};

struct WarpProducts {
  std::vector<AsyncProduct> open;
  std::deque<std::vector<AsyncProduct>> groups;
  bool is_fenced = false;
  std::vector<std::uint64_t> issued;  // what the other warps of the warpgroup must issue, too
};

// Of one launch; threads and the scheduler of emulator.cc take turns.
class AsyncUnits {
 public:
  AsyncUnits(unsigned char* shared, std::size_t shared_bytes, const LaunchShape& shape,
             const Options& options);

  void StartBlock();
  // No thread can go on: one copy is done. False where none is under way.
  bool Step();
  // What is wrong when the block's threads have ended; else empty.
  std::string EndBlock();

  // A thread's cp.async has arrived.
  void Written(const void* shared, std::size_t bytes);
  void FenceProxy();

  CountingBarrier& BarrierAt(const char* what, const void* shared);
  void InitBarrier(void* shared, unsigned count);
  void Arrive(CountingBarrier& barrier, std::int64_t expected_bytes);
  void Copy(const BulkCopyAsked& copy);

  WarpProducts& products() { return products_[Self().warp]; }
  void Issue(AsyncProduct product);
  void Complete(unsigned newest_groups);

 private:
  struct Written_ {
    std::size_t offset, bytes;
  };
  void Do(const BulkCopyAsked& copy);
  void EndPhaseIfDone(CountingBarrier& barrier);
  void Multiply(AsyncProduct& product);
  template <class T>
  void MultiplyOf(AsyncProduct& product);
  std::uint16_t ReadB(std::uint64_t descriptor, int column, int k) const;

  unsigned char* shared_;
  std::size_t shared_bytes_;
  Options options_;
  std::vector<unsigned char> view_;
  std::map<std::size_t, CountingBarrier> barriers_;  // by their offset
  std::deque<BulkCopyAsked> copies_;
  std::vector<std::vector<Written_>> written_;              // by thread, not in the view yet
  std::vector<std::vector<CountingBarrier*>> unpublished_;  // by thread
  std::vector<WarpProducts> products_;
};

// Of the launch that runs.
AsyncUnits& Async();
// The fiber waits until the counter has changed.
void WaitForChange(const char* what, const std::uint64_t& counter);

}  // namespace awq::cuda::simt
