#include "base/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace awq {
namespace {

constexpr std::size_t kSpins = 1000;  // some 10 to 40 microseconds
constexpr unsigned kMostFailures = 8;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

Cpus AllowedCpus() {
  Cpus cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::size_t CountOf(std::size_t threads) { return threads == 0 ? AvailableCpus() : threads; }

// Where it is refused, the thread stays free.
void Pin(std::thread& thread, std::size_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);
}

}  // namespace

std::size_t AvailableCpus() {
  const std::size_t allowed = AllowedCpus().size();
  return allowed > 0 ? allowed : std::max(1U, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(std::size_t threads)
    : ThreadPool(CountOf(threads), PlaceThreads(CountOf(threads), NumaNodes(AllowedCpus()))) {}

ThreadPool::ThreadPool(std::size_t threads, const Cpus& places) {
  threads = CountOf(threads);
  AWQ_CHECK(places.empty() || places.size() == threads);
  spins_ = threads <= AvailableCpus();  // else the others need the CPU more
  shares_ = std::vector<Share>(threads);
  try {
    for (std::size_t worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { WorkerLoop(worker); });
      if (!places.empty()) Pin(workers_.back(), places[worker]);
    }
  } catch (const std::system_error&) {
    // The system gives no more threads: those there are do the work.
  } catch (...) {
    Stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  stopping_ = true;
  generation_.fetch_add(1);
  Announce(start_);
  for (std::thread& thread : workers_) thread.join();
}

// One loop follows another within microseconds, where sleeping and waking would take longer than
// the work. Where other programs want the CPU, though, what is waited for does not come in that
// time, and who spins is made to wait for it.
template <class Condition>
bool ThreadPool::Patience::Spin(const Condition& condition) {
  if (skips_ > 0) {
    --skips_;
    return condition();
  }
  for (std::size_t spin = 0; spin < kSpins; ++spin) {
    if (condition()) {
      failures_ = 0;
      return true;
    }
    Pause();
  }
  failures_ = std::min(failures_ + 1, kMostFailures);
  skips_ = (1U << failures_) - 1;
  return false;
}

template <class Condition>
void ThreadPool::Await(std::condition_variable& event, Patience& patience,
                       const Condition& condition) {
  if (spins_ ? patience.Spin(condition) : condition()) return;
  std::unique_lock lock(mutex_);
  event.wait(lock, condition);
}

void ThreadPool::Announce(std::condition_variable& event) {
  // Who has looked and not yet gone to sleep holds the mutex.
  { const std::lock_guard lock(mutex_); }
  event.notify_all();
}

void ThreadPool::WorkShare(std::size_t share, std::size_t worker, std::size_t generation) {
  const std::size_t first = count_ * share / size();
  const std::size_t count = count_ * (share + 1) / size() - first;
  std::atomic<std::size_t>& begun = shares_[share].begun[generation % 2];
  // Looked at before it is added to: most shares of others are empty when one comes to them.
  while (begun.load(std::memory_order_relaxed) < count && !failed_.load()) {
    const std::size_t index = begun.fetch_add(1, std::memory_order_relaxed);
    if (index >= count) return;
    (*body_)(first + index, worker);
  }
}

void ThreadPool::Work(std::size_t worker, std::size_t generation) {
  // Of the last loop, which has ended; the next one uses it.
  shares_[worker].begun[(generation + 1) % 2].store(0, std::memory_order_relaxed);
  try {
    for (std::size_t i = 0; i < size(); ++i) {
      WorkShare((worker + i) % size(), worker, generation);
    }
  } catch (...) {
    failed_.store(true);
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::WorkerLoop(std::size_t worker) {
  Patience patience;
  for (std::size_t seen = 0;;) {
    Await(start_, patience, [&] { return generation_.load() != seen; });
    ++seen;  // the caller waits for all before the next
    if (stopping_) return;
    Work(worker, seen);
    if (running_.fetch_sub(1) == 1) Announce(finished_);
  }
}

void ThreadPool::ParallelFor(std::size_t count,
                             const std::function<void(std::size_t, std::size_t)>& body) {
  if (count == 0) return;
  if (count == 1 || workers_.empty()) {
    for (std::size_t index = 0; index < count; ++index) body(index, 0);
    return;
  }
  body_ = &body;
  count_ = count;
  failed_.store(false);
  running_.store(workers_.size());
  const std::size_t generation = generation_.fetch_add(1) + 1;
  Announce(start_);
  Work(0, generation);
  Await(finished_, patience_, [&] { return running_.load() == 0; });
  body_ = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

Status TryParallelFor(ThreadPool& pool, std::size_t count,
                      const std::function<Status(std::size_t, std::size_t)>& body) {
  std::mutex mutex;
  std::atomic<std::size_t> lowest = count;
  Status outcome;
  pool.ParallelFor(count, [&](std::size_t index, std::size_t worker) {
    if (index > lowest) return;
    Status status = body(index, worker);
    if (status) return;
    const std::lock_guard lock(mutex);
    if (index > lowest) return;
    lowest = index;
    outcome = std::move(status);
  });
  return outcome;
}

}  // namespace awq
