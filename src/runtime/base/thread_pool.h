#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace octet {

/// A reference to a callable, valid for the call it is passed to; costs no allocation.
class RangeBody {
 public:
  template <typename F>
  RangeBody(const F& f)  // NOLINT: implicit on purpose, bodies are lambdas at the call
      : object_(&f), call_([](const void* o, std::int64_t b, std::int64_t e, int worker) {
          (*static_cast<const F*>(o))(b, e, worker);
        }) {}
  void operator()(std::int64_t begin, std::int64_t end, int worker) const {
    call_(object_, begin, end, worker);
  }

 private:
  const void* object_;
  void (*call_)(const void*, std::int64_t, std::int64_t, int);
};

/// Fixed workers, one fork-join loop at a time. The calling thread works too, as worker 0.
///
/// The items that one call of the body gets depend on timing, so a body must give each item a
/// result that does not depend on which worker computes it: then results don't depend on the
/// number of threads either.
/// Threads: parallel_for may be called from one thread at a time (a second caller waits its turn);
/// a body must not call it again.
class ThreadPool {
 public:
  /// num_threads 0: one for each CPU this process may run on (affinity and cgroup quota count).
  explicit ThreadPool(int num_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  /// Calls body(begin, end, worker) over disjoint ranges that cover [0, count), each of at most
  /// `grain` items; workers take the next range when they are free. Returns when all are done.
  /// The first exception of a body is rethrown here, after the others have stopped.
  void parallel_for(std::int64_t count, std::int64_t grain, RangeBody body);

 private:
  struct State;
  int num_threads_;
  std::unique_ptr<State> state_;
};

/// CPUs that this process may use: the smaller of its affinity mask and its cgroup's quota.
int num_usable_cpus();

}  // namespace octet
