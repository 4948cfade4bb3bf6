// A fixed set of threads that share the iterations of one loop at a time.
#pragma once

#include <awq/result.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace awq {

// Results must not depend on the number of threads: split work by the problem's size, never by
// size(). Thread contract: ParallelFor is called from one thread at a time and does not nest.
class ThreadPool {
 public:
  // 0 means one thread per CPU this process may use. Fewer where the system gives no more.
  explicit ThreadPool(std::size_t threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t size() const { return workers_.size() + 1; }

  // Calls body(index, worker) once for every index in [0, count), in any order; worker < size()
  // tells which scratch memory to use. The first exception is rethrown here after all have ended.
  void ParallelFor(std::size_t count,
                   const std::function<void(std::size_t index, std::size_t worker)>& body);

 private:
  void Stop();
  void Work(std::size_t worker);
  void WorkerLoop(std::size_t worker);
  void Await(const std::atomic<std::uint32_t>& value, std::uint32_t unlike) const;

  std::vector<std::thread> workers_;
  std::size_t spins_ = 0;  // before a thread that waits goes to sleep
  // Of the loop that runs: written by the caller before generation_, read by workers after it.
  const std::function<void(std::size_t, std::size_t)>* body_ = nullptr;
  std::size_t count_ = 0;
  bool stopping_ = false;
  std::atomic<std::uint32_t> generation_{0};  // of loops
  std::atomic<std::size_t> next_{0};          // index
  std::atomic<std::uint32_t> done_{0};        // becomes generation_ when the last worker ends
  std::atomic<std::size_t> running_{0};       // workers
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

// Calls body(index, worker) likewise, as far as no lower index has failed; the error of the lowest
// index that has one, for any number of threads.
Status TryParallelFor(ThreadPool& pool, std::size_t count,
                      const std::function<Status(std::size_t index, std::size_t worker)>& body);

// The number of CPUs this process may run on (affinity mask respected).
std::size_t AvailableCpus();

}  // namespace awq
