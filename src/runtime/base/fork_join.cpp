#include "runtime/base/fork_join.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace octet {

namespace {

using Clock = std::chrono::steady_clock;

// Each thread takes one item and keeps it until all have one: so all must have come.
double one_loop(ThreadPool& pool) {
  std::atomic<int> left{pool.num_threads()};
  const auto start = Clock::now();
  pool.parallel_for(pool.num_threads(), 1, [&](std::int64_t, std::int64_t, int) {
    left.fetch_sub(1, std::memory_order_relaxed);
    // A thread that waits long gives its CPU away: the one that it waits for may want it.
    for (int i = 0; left.load(std::memory_order_relaxed) != 0; ++i)
      if (i > 10000) std::this_thread::yield();
  });
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> v) {
  std::ranges::nth_element(v, v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2));
  return v[v.size() / 2];
}

}  // namespace

ForkJoinSeconds measure_fork_join(ThreadPool& pool) {
  std::vector<double> awake(2000), asleep(20);
  for (double& seconds : awake) seconds = one_loop(pool);
  for (double& seconds : asleep) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    seconds = one_loop(pool);
  }
  return {median(awake), median(asleep)};
}

}  // namespace octet
