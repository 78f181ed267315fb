#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/base/numa.h"

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

struct ThreadPoolOptions {
  /// The caller included. 0: one for each CPU this process may run on (affinity and cgroup quota
  /// count).
  int num_threads = 0;
  /// Where workers go; empty: the machine's nodes, as far as this process may use them.
  std::vector<NumaNode> nodes = {};
  /// A thread without work spins at most this long, then sleeps. Not at all if there are more
  /// threads than usable CPUs, and hardly (1/16) after three longer waits in a row.
  std::chrono::nanoseconds spin = std::chrono::microseconds(100);
};

/// Fixed workers, one fork-join loop at a time. The calling thread works too, as worker 0.
///
/// The items that one call of the body gets depend on timing, so a body must give each item a
/// result that does not depend on which worker computes it: then results don't depend on the
/// number of threads either. Fewer workers than there are may take part: a loop ends when its items
/// are done, and does not wait for a worker that is still asleep.
///
/// On one node nothing is pinned. On several, workers are spread over them in proportion to their
/// CPUs and may run on their node's CPUs only; the calling thread is never pinned. There each node
/// has its own stretch of every loop, the same for every loop of as many items, and helps with the
/// others' when it is through: what a loop over items touched first, a later loop over the same
/// items mostly finds in memory near by (docs/threads.md).
///
/// Threads: parallel_for may be called from one thread at a time (a second caller waits its turn);
/// a body must not call it again. Cost: about a microsecond, some tens if workers sleep
/// (`octet doctor` measures both).
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads = 0) : ThreadPool(ThreadPoolOptions{num_threads}) {}
  explicit ThreadPool(const ThreadPoolOptions& options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }
  /// Nodes that the workers are spread over; 1: nothing is pinned.
  int num_nodes() const;

  /// Calls body(begin, end, worker) over disjoint ranges that cover [0, count), each of at most
  /// `grain` items from a multiple of `grain` on; workers take the next range when they are free.
  /// Returns when all are done. The first exception of a body is rethrown here, after the others
  /// have stopped.
  void parallel_for(std::int64_t count, std::int64_t grain, RangeBody body);

 private:
  struct State;
  int num_threads_;
  std::unique_ptr<State> state_;
};

/// CPUs that this process may use: the smaller of its affinity mask and its cgroup's quota.
int num_usable_cpus();

}  // namespace octet
