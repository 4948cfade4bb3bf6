// A fixed set of threads that share the iterations of one loop at a time.
#pragma once

#include <awq/result.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/numa.h"

namespace awq {

// Results must not depend on the number of threads: split work by the problem's size, never by
// size(). Thread contract: ParallelFor is called from one thread at a time and does not nest.
// On a machine of several NUMA nodes each thread but the caller keeps to one CPU: what one loop has
// written first then lies near the thread that goes through the same part in later loops.
class ThreadPool {
 public:
  // 0 means one thread per CPU this process may use. Fewer where the system gives no more.
  explicit ThreadPool(std::size_t threads = 0);
  // With a CPU for each, which the caller, the first, does not keep to; none: all are free.
  ThreadPool(std::size_t threads, const Cpus& places);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t size() const { return workers_.size() + 1; }

  // Calls body(index, worker) once for every index in [0, count), in any order; worker < size()
  // tells which scratch memory to use. Each thread goes through neighbouring indices as long as it
  // can: what is read for one is fetched ahead for the next. The first exception is rethrown here
  // after all have ended.
  void ParallelFor(std::size_t count,
                   const std::function<void(std::size_t index, std::size_t worker)>& body);

 private:
  // How a thread waits: for a moment awake, unless that was in vain the last times, then asleep.
  class Patience {
   public:
    template <class Condition>
    bool Spin(const Condition& condition);  // whether it came true

   private:
    unsigned failures_ = 0;  // in a row
    unsigned skips_ = 0;     // waits that do not spin
  };

  // How many indices of a worker's share have been begun, by itself or by those that have no more
  // of their own. Of two loops in turn, so that each worker can clear its own for the next.
  struct alignas(64) Share {
    std::atomic<std::size_t> begun[2] = {};
  };

  void Stop();
  void Work(std::size_t worker, std::size_t generation);
  void WorkShare(std::size_t share, std::size_t worker, std::size_t generation);
  void WorkerLoop(std::size_t worker);
  template <class Condition>
  void Await(std::condition_variable& event, Patience& patience, const Condition& condition);
  void Announce(std::condition_variable& event);  // after what it waits for was stored

  std::vector<Share> shares_;  // by worker
  std::vector<std::thread> workers_;
  bool spins_ = false;
  Patience patience_;  // the caller's
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable finished_;
  // Of the loop that runs: written by the caller before generation_, read by workers after it.
  const std::function<void(std::size_t, std::size_t)>* body_ = nullptr;
  std::size_t count_ = 0;
  bool stopping_ = false;
  std::atomic<std::size_t> generation_{0};  // of loops
  std::atomic<bool> failed_{false};
  std::atomic<std::size_t> running_{0};  // workers
  std::exception_ptr failure_;           // guarded by mutex_
};

// Calls body(index, worker) likewise, as far as no lower index has failed; the error of the lowest
// index that has one, for any number of threads.
Status TryParallelFor(ThreadPool& pool, std::size_t count,
                      const std::function<Status(std::size_t index, std::size_t worker)>& body);

// The number of CPUs this process may run on (affinity mask respected).
std::size_t AvailableCpus();

}  // namespace awq
