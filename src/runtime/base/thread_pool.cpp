#include "runtime/base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/base/error.h"

namespace octet {

namespace {

// Spinning this long before sleeping bridges the gap between two operations of one step (some
// microseconds) and costs nothing that matters when the machine is idle.
constexpr int kSpins = 2000;

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

struct ThreadPool::State {
  std::mutex callers;  // one parallel_for at a time
  std::vector<std::thread> workers;

  // A job is published by raising `epoch`; workers answer by lowering `running`.
  std::atomic<std::uint32_t> epoch{0};
  std::atomic<int> running{0};
  std::atomic<bool> stop{false};

  const RangeBody* body = nullptr;
  std::int64_t count = 0, grain = 1;
  std::atomic<std::int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;

  void work(int worker) {
    for (;;) {
      const std::int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      try {
        (*body)(begin, std::min(begin + grain, count), worker);
      } catch (...) {
        next.store(count, std::memory_order_relaxed);
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
      }
    }
  }

  void run(int worker) {
    std::uint32_t seen = 0;
    for (;;) {
      for (int i = 0; i < kSpins && epoch.load(std::memory_order_acquire) == seen; ++i) pause_cpu();
      epoch.wait(seen, std::memory_order_acquire);
      seen = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      work(worker);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) running.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads > 0 ? num_threads : num_usable_cpus()),
      state_(std::make_unique<State>()) {
  for (int i = 1; i < num_threads_; ++i)
    state_->workers.emplace_back([s = state_.get(), i] { s->run(i); });
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true);
  state_->epoch.fetch_add(1, std::memory_order_release);
  state_->epoch.notify_all();
  for (auto& t : state_->workers) t.join();
}

void ThreadPool::parallel_for(std::int64_t count, std::int64_t grain, RangeBody body) {
  OCTET_CHECK(grain > 0, "parallel_for: grain {}", grain);
  if (count <= 0) return;
  State& s = *state_;
  const std::lock_guard lock(s.callers);
  if (num_threads_ == 1 || count <= grain) {
    for (std::int64_t b = 0; b < count; b += grain) body(b, std::min(b + grain, count), 0);
    return;
  }
  s.body = &body;
  s.count = count;
  s.grain = grain;
  s.next.store(0, std::memory_order_relaxed);
  s.running.store(num_threads_ - 1, std::memory_order_relaxed);
  s.epoch.fetch_add(1, std::memory_order_release);
  s.epoch.notify_all();
  s.work(0);
  for (int i = 0; i < kSpins && s.running.load(std::memory_order_acquire) != 0; ++i) pause_cpu();
  for (int left; (left = s.running.load(std::memory_order_acquire)) != 0;)
    s.running.wait(left, std::memory_order_acquire);
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

int num_usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = 1;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  // cgroup v2: "MAX PERIOD" in microseconds; a container with a quota of 2 CPUs on a large host.
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0) {
    const double share = std::atof(quota.c_str()) / period;
    if (share >= 1) cpus = std::min(cpus, static_cast<int>(share));
  }
  return cpus;
}

}  // namespace octet
