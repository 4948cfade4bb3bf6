#include "base/threads.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"

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

// Whoever has none left takes over what others have not begun.
TEST_P(ThreadPoolSizes, NoIndexWaitsForAnother) {
  ThreadPool pool(GetParam());
  if (pool.size() == 1) return;  // there is no other
  for (const std::size_t held : {0U, 20U, 39U}) {
    std::atomic<int> done{0};
    pool.ParallelFor(40, [&](std::size_t index, std::size_t) {
      while (index == held && done.load() < 39) std::this_thread::yield();
      done.fetch_add(1);
    });
    EXPECT_EQ(done.load(), 40);
  }
}

// Nobody ends its first index before all have begun one, so none has been taken over by then.
TEST_P(ThreadPoolSizes, EachThreadBeginsWithItsOwnPartAndGoesThroughPartsInOrder) {
  ThreadPool pool(GetParam());
  constexpr std::size_t kOfEach = 5;
  for (int round = 0; round < 3; ++round) {
    std::atomic<std::size_t> begun{0};
    std::vector<std::size_t> before(pool.size(), SIZE_MAX);  // by worker
    pool.ParallelFor(pool.size() * kOfEach, [&](std::size_t index, std::size_t worker) {
      if (begun.fetch_add(1) < pool.size()) {
        EXPECT_EQ(index, worker * kOfEach);
        while (begun.load() < pool.size()) std::this_thread::yield();
      } else if (index / kOfEach == before[worker] / kOfEach) {
        EXPECT_GT(index, before[worker]);
      }
      before[worker] = index;
    });
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

// Of 40 and 41, which run side by side, one or the other fails first: it is always 40 that is told.
TEST_P(ThreadPoolSizes, TheErrorIsThatOfTheLowestIndex) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 20; ++round) {
    std::vector<std::atomic<int>> hits(100);
    const std::size_t late = round % 2 == 0 ? 40 : 41;
    const Status status =
        TryParallelFor(pool, hits.size(), [&](std::size_t index, std::size_t worker) -> Status {
          EXPECT_LT(worker, pool.size());
          hits[index].fetch_add(1);
          if (index < 40) return {};
          while (index == 40 && pool.size() > 1 && hits[41].load() == 0) std::this_thread::yield();
          if (index == late) std::this_thread::sleep_for(std::chrono::milliseconds(2));
          return Error{ErrorCode::kCorrupt, std::to_string(index)};
        });
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().message, "40");
    for (std::size_t i = 0; i <= 40; ++i) EXPECT_EQ(hits[i].load(), 1) << i;
  }
  EXPECT_TRUE(TryParallelFor(pool, 9, [](std::size_t, std::size_t) { return Status(); }).ok());
  EXPECT_TRUE(TryParallelFor(pool, 0, [](std::size_t, std::size_t) -> Status {
                return Error{ErrorCode::kCorrupt, "none is called"};
              }).ok());
}

Cpus CpusOfThisThread() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  Cpus cpus;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// By worker. None ends its index before all have begun one.
std::vector<Cpus> CpusOfThreads(ThreadPool& pool) {
  std::vector<Cpus> cpus(pool.size());
  std::atomic<std::size_t> begun{0};
  pool.ParallelFor(pool.size(), [&](std::size_t, std::size_t worker) {
    cpus[worker] = CpusOfThisThread();
    begun.fetch_add(1);
    while (begun.load() < pool.size()) std::this_thread::yield();
  });
  return cpus;
}

TEST(ThreadPool, EachThreadButTheCallerKeepsToItsCpu) {
  const Cpus all = CpusOfThisThread();
  if (all.size() < 2) GTEST_SKIP() << "one CPU is no choice";
  // As of a machine whose first CPU is on one node, the rest on another.
  const std::vector<Cpus> nodes = {{all[0]}, Cpus(all.begin() + 1, all.end())};
  const Cpus places = PlaceThreads(all.size(), nodes);
  ASSERT_EQ(places, all);
  ThreadPool pinned(all.size(), places);
  const std::vector<Cpus> of_threads = CpusOfThreads(pinned);
  for (std::size_t worker = 1; worker < pinned.size(); ++worker) {
    EXPECT_EQ(of_threads[worker], Cpus{places[worker]});
  }
  EXPECT_EQ(of_threads[0], all);
  ThreadPool free(all.size(), Cpus());
  for (const Cpus& each : CpusOfThreads(free)) EXPECT_EQ(each, all);
  EXPECT_THROW(ThreadPool(all.size() + 1, places), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolSizes, ::testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace awq
