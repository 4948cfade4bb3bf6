#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace awq {
namespace {

class ThreadPoolSizes : public ::testing::TestWithParam<std::size_t> {};

TEST_P(ThreadPoolSizes, EveryIndexExactlyOnce) {
  ThreadPool pool(GetParam());
  for (std::size_t count : {0U, 1U, 2U, 3U, 7U, 1000U}) {
    std::vector<std::atomic<int>> hits(count);
    pool.ParallelFor(count, [&](std::size_t index, std::size_t worker) {
      ASSERT_LT(worker, pool.size());
      hits[index].fetch_add(1);
    });
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(hits[i].load(), 1) << i << " of " << count;
  }
}

TEST_P(ThreadPoolSizes, AnExceptionReachesTheCallerAndThePoolLivesOn) {
  ThreadPool pool(GetParam());
  EXPECT_THROW(pool.ParallelFor(100,
                                [](std::size_t index, std::size_t) {
                                  if (index == 37) throw std::runtime_error("37");
                                }),
               std::runtime_error);
  std::atomic<int> sum{0};
  pool.ParallelFor(10, [&](std::size_t, std::size_t) { sum.fetch_add(1); });
  EXPECT_EQ(sum.load(), 10);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolSizes, ::testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace awq
