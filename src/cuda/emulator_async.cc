#include "cuda/emulator_async.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cuda/numbers.h"

namespace awq::cuda::simt {
namespace {

constexpr unsigned char kPoison = 0xff;
constexpr std::uint64_t kBarrierMark = 0xb0a5e4ba44135000;  // what a barrier's 8 bytes hold here
constexpr int kDepth = 16;                                  // of a product
constexpr unsigned kWarpgroupWarps = 4;

// Shared memory does not begin at address 0 on a device, either.
constexpr std::uint32_t kSharedBegin = 1024;

}  // namespace

AsyncUnits::AsyncUnits(unsigned char* shared, std::size_t shared_bytes, const LaunchShape& shape,
                       const Options& options)
    : shared_(shared),
      shared_bytes_(shared_bytes),
      options_(options),
      view_(shared_bytes),
      written_(shape.threads),
      unpublished_(shape.threads),
      products_((shape.threads + kWarpLanes - 1) / kWarpLanes) {}

void AsyncUnits::StartBlock() {
  std::fill(view_.begin(), view_.end(), kPoison);
  barriers_.clear();
  copies_.clear();
  std::fill(written_.begin(), written_.end(), std::vector<Written_>());
  std::fill(unpublished_.begin(), unpublished_.end(), std::vector<CountingBarrier*>());
  std::fill(products_.begin(), products_.end(), WarpProducts());
}

bool AsyncUnits::Step() {
  if (copies_.empty()) {
    return false;
  }
  const bool newest = options_.order == Order::kBackward;
  const BulkCopyAsked copy = newest ? copies_.back() : copies_.front();
  newest ? copies_.pop_back() : copies_.pop_front();
  Do(copy);
  return true;
}

std::string AsyncUnits::EndBlock() {
  if (!copies_.empty()) {
    return "ends while cp.async.bulk copies are under way";
  }
  for (std::size_t warp = 0; warp < products_.size(); ++warp) {
    const WarpProducts& mine = products_[warp];
    if (!mine.open.empty() || !mine.groups.empty()) {
      return "ends while wgmma products of warp " + std::to_string(warp) + " are under way";
    }
    const std::size_t first = warp / kWarpgroupWarps * kWarpgroupWarps;
    const std::size_t last = std::min(first + kWarpgroupWarps, products_.size()) - 1;
    if (mine.issued != products_[first].issued ||
        (!mine.issued.empty() && last - first + 1 < kWarpgroupWarps)) {
      return "the warps of the warpgroup of warp " + std::to_string(warp) +
             " issue different wgmma products";
    }
  }
  return "";
}

void AsyncUnits::Written(const void* shared, std::size_t bytes) {
  written_[Self().thread.x].push_back(
      {static_cast<std::size_t>(static_cast<const unsigned char*>(shared) - shared_), bytes});
}

void AsyncUnits::FenceProxy() {
  auto& written = written_[Self().thread.x];
  for (const Written_& part : written) {
    std::memcpy(view_.data() + part.offset, shared_ + part.offset, part.bytes);
  }
  written.clear();
  auto& barriers = unpublished_[Self().thread.x];
  for (CountingBarrier* barrier : barriers) {
    barrier->is_published = true;
  }
  barriers.clear();
}

// ---- barriers and copies ----

CountingBarrier& AsyncUnits::BarrierAt(const char* what, const void* shared) {
  CheckShared(what, shared, 8, 8);
  const auto found =
      barriers_.find(static_cast<std::size_t>(static_cast<const unsigned char*>(shared) - shared_));
  if (found == barriers_.end()) {
    Trap(std::string(what) + " where no mbarrier was initialized");
  }
  if (std::memcmp(shared, &kBarrierMark, 8) != 0) {
    Trap(std::string(what) + " at an mbarrier that something else was written over");
  }
  return found->second;
}

void AsyncUnits::InitBarrier(void* shared, unsigned count) {
  CheckShared("mbarrier.init", shared, 8, 8);
  if (count == 0 || count >= 1u << 20) {
    Trap("mbarrier.init for " + std::to_string(count) + " arrivals");
  }
  const auto offset = static_cast<std::size_t>(static_cast<unsigned char*>(shared) - shared_);
  std::memcpy(shared, &kBarrierMark, 8);
  barriers_[offset] = {.count = count, .pending = count};
  unpublished_[Self().thread.x].push_back(&barriers_[offset]);
}

void AsyncUnits::EndPhaseIfDone(CountingBarrier& barrier) {
  if (barrier.pending == 0 && barrier.bytes == 0) {
    barrier.pending = barrier.count;
    ++barrier.phases;
  }
}

void AsyncUnits::Arrive(CountingBarrier& barrier, std::int64_t expected_bytes) {
  if (barrier.pending == 0) {
    Trap("more arrivals at an mbarrier than it was initialized for");
  }
  barrier.bytes += expected_bytes;
  if (barrier.bytes >= 1 << 20) {
    Trap("an mbarrier that expects more than 2^20 - 1 bytes");
  }
  --barrier.pending;
  EndPhaseIfDone(barrier);
}

void AsyncUnits::Copy(const BulkCopyAsked& copy) {
  if (!copy.barrier->is_published) {
    Trap("cp.async.bulk with an mbarrier that was initialized without a fence.proxy.async");
  }
  if (options_.early_copies) {
    Do(copy);
  } else {
    copies_.push_back(copy);
  }
}

void AsyncUnits::Do(const BulkCopyAsked& copy) {
  std::memcpy(copy.to, copy.from, copy.bytes);
  std::memcpy(view_.data() + (copy.to - shared_), copy.from, copy.bytes);
  copy.barrier->bytes -= static_cast<std::int64_t>(copy.bytes);
  EndPhaseIfDone(*copy.barrier);
}

void MbarrierInit(void* shared, unsigned arrivals) { Async().InitBarrier(shared, arrivals); }

void MbarrierArrive(void* shared) {
  Async().Arrive(Async().BarrierAt("mbarrier.arrive", shared), 0);
}

void MbarrierArriveAndExpect(void* shared, unsigned bytes) {
  Async().Arrive(Async().BarrierAt("mbarrier.arrive.expect_tx", shared), bytes);
}

void MbarrierWait(void* shared, unsigned parity) {
  const CountingBarrier& barrier = Async().BarrierAt("mbarrier.try_wait.parity", shared);
  while (barrier.phases % 2 == parity) {
    WaitForChange("mbarrier.try_wait.parity", barrier.phases);
  }
}

void BulkCopy(void* shared, const void* global, std::size_t bytes, void* mbarrier) {
  CheckShared("cp.async.bulk", shared, bytes, 16);
  CheckAligned("cp.async.bulk", global, 16);
  if (bytes % 16 != 0 || bytes == 0) {
    Trap("cp.async.bulk of " + std::to_string(bytes) + " bytes, no multiple of 16");
  }
  Async().Copy({static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global),
                bytes, &Async().BarrierAt("cp.async.bulk", mbarrier)});
}

void FenceAsyncProxy() { Async().FenceProxy(); }

std::uint32_t SharedAddress(const void* shared) {
  return kSharedBegin +
         static_cast<std::uint32_t>(static_cast<const unsigned char*>(shared) - SharedMemory());
}

// ---- products ----

// B in the order of k, of a descriptor as PTX's "Matrix Descriptor Format" has it: bits 0 to 13 the
// start, 16 to 29 and 32 to 45 the leading and the stride byte offset, all in units of 16 bytes, 62
// and 63 the swizzling. 8 columns of B make an atom whose rows are as wide as the swizzling; the
// next 8 are a stride byte offset on. Without swizzling a row has 8 elements, and the next 8 along
// k are a leading byte offset on. Swizzling exchanges 16 bytes in the address itself: its bits from
// 4 on, with those from 7 on.
std::uint16_t AsyncUnits::ReadB(std::uint64_t descriptor, int column, int k) const {
  const auto field = [&](int bit) {
    return static_cast<std::uint32_t>(descriptor >> bit & 0x3fffu) << 4;
  };
  const auto mode = static_cast<unsigned>(descriptor >> 62);
  const std::uint32_t swizzled = mode == 0 ? 0 : 4 - mode;  // bits: 3, 2, 1
  const auto outer = static_cast<std::uint32_t>(column / 8),
             inner = static_cast<std::uint32_t>(column % 8);
  const auto chunk = static_cast<std::uint32_t>(k / 8);
  std::uint32_t address = field(0) + outer * field(32) + inner * (16u << swizzled) +
                          chunk * (mode == 0 ? field(16) : 16u);
  address ^= (address >> 7 & ((1u << swizzled) - 1)) << 4;
  address += static_cast<std::uint32_t>(k % 8) * 2;
  if (address < kSharedBegin || address + 2 - kSharedBegin > shared_bytes_) {
    Trap("wgmma reads outside of the block's shared memory");
  }
  const std::uint32_t offset = address - kSharedBegin;
  if (std::memcmp(shared_ + offset, view_.data() + offset, 2) != 0) {
    Trap("wgmma reads shared memory that was written without a fence.proxy.async");
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, view_.data() + offset, 2);
  return bits;
}

template <class T>
void AsyncUnits::MultiplyOf(AsyncProduct& product) {
  float a[kDepth][kDepth];
  std::vector<float> b(static_cast<std::size_t>(product.columns * kDepth));
  for (std::size_t lane = 0; lane < kWarpLanes; ++lane) {
    for (std::size_t r = 0; r < 4; ++r) {
      for (std::size_t i = 0; i < 2; ++i) {
        a[lane / 4 + r % 2 * 8][lane % 4 * 2 + i + r / 2 * 8] =
            ToFloat(T{static_cast<std::uint16_t>(product.a[lane][r] >> (16 * i))});
      }
    }
  }
  for (int at = 0; at < product.columns * kDepth; ++at) {
    b[static_cast<std::size_t>(at)] =
        ToFloat(T{ReadB(product.descriptor, at / kDepth, at % kDepth)});
  }
  const auto elements = static_cast<std::size_t>(product.columns / 2);
  for (std::size_t lane = 0; lane < kWarpLanes; ++lane) {
    for (std::size_t i = 0; i < elements; ++i) {
      const std::size_t row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      double sum = product.accumulates ? double{product.before[lane * elements + i]} : 0.0;
      for (std::size_t k = 0; k < kDepth; ++k) {
        sum += double{a[row][k]} * double{b[column * kDepth + k]};
      }
      product.c[lane][i] = static_cast<float>(sum);
    }
  }
}

void AsyncUnits::Multiply(AsyncProduct& product) {
  product.is_half ? MultiplyOf<Half>(product) : MultiplyOf<Bfloat16>(product);
}

// c as it is now, which nobody may look at before the product is done.
void TakeSums(AsyncProduct& product) {
  const auto elements = static_cast<std::size_t>(product.columns / 2);
  product.before.resize(kWarpLanes * elements);
  for (std::size_t lane = 0; lane < kWarpLanes; ++lane) {
    std::memcpy(&product.before[lane * elements], product.c[lane], 4 * elements);
    std::memset(product.c[lane], kPoison, 4 * elements);
  }
}

void AsyncUnits::Issue(AsyncProduct product) {
  WarpProducts& mine = products();
  if (!mine.is_fenced) {
    Trap("wgmma.mma_async without a wgmma.fence since its registers could be touched");
  }
  mine.issued.insert(mine.issued.end(), {product.descriptor, std::uint64_t(product.columns),
                                         std::uint64_t(product.accumulates)});
  TakeSums(product);
  if (options_.early_copies) {
    Multiply(product);
  }
  mine.open.push_back(std::move(product));
}

void AsyncUnits::Complete(unsigned newest_groups) {
  WarpProducts& mine = products();
  while (mine.groups.size() > newest_groups) {
    std::vector<AsyncProduct> group = std::move(mine.groups.front());
    mine.groups.pop_front();
    for (std::size_t i = 0; i < group.size() && !options_.early_copies; ++i) {
      Multiply(group[i]);
      // The next one that adds to the same sums goes on from here.
      const auto hand_over = [&](std::vector<AsyncProduct>& later, std::size_t from) {
        for (std::size_t j = from; j < later.size(); ++j) {
          if (later[j].c[0] == group[i].c[0]) {
            TakeSums(later[j]);
            return true;
          }
        }
        return false;
      };
      bool is_handed = hand_over(group, i + 1);
      for (std::size_t g = 0; g < mine.groups.size() && !is_handed; ++g) {
        is_handed = hand_over(mine.groups[g], 0);
      }
      if (!is_handed) {
        hand_over(mine.open, 0);
      }
    }
  }
  mine.is_fenced = false;
}

void WarpgroupFence() {
  Meet("wgmma.fence", 0xffffffffu, nullptr,
       [](void* const*) { Async().products().is_fenced = true; });
}

void WarpgroupCommit() {
  Meet("wgmma.commit_group", 0xffffffffu, nullptr, [](void* const*) {
    WarpProducts& mine = Async().products();
    mine.groups.push_back(std::exchange(mine.open, {}));
  });
}

void WarpgroupWait(unsigned newest) {
  Meet("wgmma.wait_group", 0xffffffffu, &newest,
       [](void* const* lanes) { Async().Complete(*static_cast<unsigned*>(lanes[0])); });
}

void WarpgroupMultiply(float* c, int columns, const std::uint32_t* a, std::uint64_t descriptor,
                       bool accumulates, bool is_half) {
  struct Record {
    float* c;
    const std::uint32_t* a;
    AsyncProduct shared;
  } mine{c, a, {}};
  mine.shared.columns = columns;
  mine.shared.descriptor = descriptor;
  mine.shared.accumulates = accumulates;
  mine.shared.is_half = is_half;
  if ((descriptor >> 49 & 7u) != 0) {
    Trap("wgmma with a base offset, which is not emulated");
  }
  MeetWith("wgmma.mma_async", 0xffffffffu, mine, [](Record** lanes) {
    AsyncProduct product = lanes[0]->shared;
    for (std::size_t i = 0; i < kWarpLanes; ++i) {
      if (lanes[i]->shared.descriptor != product.descriptor ||
          lanes[i]->shared.accumulates != product.accumulates) {
        Trap("wgmma.mma_async with another descriptor or scale in each lane");
      }
      product.a[i] = lanes[i]->a;
      product.c[i] = lanes[i]->c;
    }
    Async().Issue(std::move(product));
  });
}

}  // namespace awq::cuda::simt
