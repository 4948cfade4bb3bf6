#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace awq {

std::size_t AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    return static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
  }
  return std::max(1U, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(std::size_t threads) {
  if (threads == 0) threads = AvailableCpus();
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
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  start_.notify_all();
  for (std::thread& thread : workers_) thread.join();
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
    std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::WorkerLoop(std::size_t worker) {
  std::size_t seen = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
    }
    Work(worker);
    std::lock_guard lock(mutex_);
    if (--running_ == 0) finished_.notify_one();
  }
}

void ThreadPool::ParallelFor(std::size_t count,
                             const std::function<void(std::size_t, std::size_t)>& body) {
  if (count == 0) return;
  if (count == 1 || workers_.empty()) {
    for (std::size_t index = 0; index < count; ++index) body(index, 0);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    body_ = &body;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    failure_ = nullptr;
    running_ = workers_.size();
    ++generation_;
  }
  start_.notify_all();
  Work(0);
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [&] { return running_ == 0; });
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
