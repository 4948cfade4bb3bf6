#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace awq {
namespace {

constexpr std::size_t kSpins = 4000;  // some tens of microseconds

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

std::size_t AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    return static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
  }
  return std::max(1U, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(std::size_t threads) {
  const std::size_t cpus = AvailableCpus();
  if (threads == 0) threads = cpus;
  if (threads <= cpus) spins_ = kSpins;  // else others need the CPU more
  try {
    for (std::size_t worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { WorkerLoop(worker); });
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
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

// One loop follows another within microseconds, where sleeping and waking would take longer than
// the work; who waits longer sleeps.
void ThreadPool::Await(const std::atomic<std::uint32_t>& value, std::uint32_t unlike) const {
  for (std::size_t spin = 0; spin < spins_; ++spin) {
    if (value.load(std::memory_order_acquire) != unlike) return;
    Pause();
  }
  value.wait(unlike, std::memory_order_acquire);
}

void ThreadPool::Work(std::size_t worker) {
  try {
    for (;;) {
      const std::size_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= count_) return;
      (*body_)(index, worker);
    }
  } catch (...) {
    next_.store(count_, std::memory_order_relaxed);
    std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::WorkerLoop(std::size_t worker) {
  for (std::uint32_t seen = 0;;) {
    Await(generation_, seen);
    ++seen;  // the caller waits for all before the next
    if (stopping_) return;
    Work(worker);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) > 1) continue;
    done_.store(seen, std::memory_order_release);
    done_.notify_one();
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
  next_.store(0, std::memory_order_relaxed);
  running_.store(workers_.size(), std::memory_order_relaxed);
  const std::uint32_t before = generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  Work(0);
  Await(done_, before);
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
