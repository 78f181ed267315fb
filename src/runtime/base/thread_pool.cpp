#include "runtime/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/system.h"

namespace octet {

namespace {

using Clock = std::chrono::steady_clock;

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// How long one thread spins before it sleeps. The gap between two operations of a step is some
// microseconds, far less than a sleep and a wake-up; the gap between two requests is not worth a
// spin. A thread goes by the gaps that it has seen: one long gap, as between two steps, changes
// nothing, several in a row leave a short try.
class Patience {
 public:
  explicit Patience(std::chrono::nanoseconds limit) : limit_(limit) {}

  // True as soon as ready() is; false when it was not within the time.
  template <typename Ready>
  bool spin(const Ready& ready) {
    if (ready()) return true;
    if (limit_.count() <= 0) return false;
    begin_ = Clock::now();
    const auto budget = long_gaps_ < kLongGaps ? limit_ : limit_ / 16;
    do {
      // The clock costs as much as some pauses.
      for (int i = 0; i < 32; ++i) {
        pause_cpu();
        if (!ready()) continue;
        long_gaps_ = 0;
        return true;
      }
    } while (Clock::now() - begin_ < budget);
    return false;
  }

  // To be called after the sleep that followed a spin in vain.
  void slept() {
    if (limit_.count() <= 0) return;
    long_gaps_ = Clock::now() - begin_ <= limit_ ? 0 : std::min(long_gaps_ + 1, kLongGaps);
  }

 private:
  static constexpr int kLongGaps = 3;
  std::chrono::nanoseconds limit_;
  Clock::time_point begin_;
  int long_gaps_ = 0;
};

// Threads write these at different times; a cache line of its own for each.
constexpr std::size_t kLine = 64;

// The stretch of a loop that belongs to one node.
struct alignas(kLine) Stretch {
  std::atomic<std::int64_t> next{0};
  std::int64_t end = 0;
};

bool is_open(std::uint32_t epoch) {
  return epoch % 2 == 1;
}

}  // namespace

// A job is open while `epoch` is odd. A worker enters by raising `inside` and then looks whether a
// job is open; the caller closes the job and then waits until nobody is inside. Both in sequential
// consistency: either the caller sees the worker inside, or the worker sees the job closed. So what
// a job consists of is read only between its opening and the caller's return, and a worker that
// wakes up late holds up nobody.
struct ThreadPool::State {
  std::mutex callers;  // one parallel_for at a time
  std::vector<std::thread> workers;
  std::vector<NumaNode> nodes;
  std::vector<std::size_t> node_of_worker;
  std::vector<std::size_t> node_of_cpu;    // several nodes only
  std::vector<std::int64_t> threads_upto;  // threads of the nodes before, and of all at the end
  Patience caller_patience{{}};

  alignas(kLine) std::atomic<std::uint32_t> epoch{0};
  std::atomic<bool> stop{false};
  alignas(kLine) std::atomic<int> inside{0};
  std::atomic<bool> caller_sleeps{false};
  alignas(kLine) std::atomic<int> sleeping{0};  // workers that a wake-up may be needed for

  const RangeBody* body = nullptr;
  std::int64_t grain = 1;
  std::vector<Stretch> stretches;  // one for each node
  std::mutex error_mutex;
  std::exception_ptr error;

  void work(int worker, std::size_t node) {
    for (std::size_t i = 0; i < stretches.size(); ++i) {
      Stretch& s = stretches[(node + i) % stretches.size()];
      for (;;) {
        const std::int64_t begin = s.next.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= s.end) break;
        try {
          (*body)(begin, std::min(begin + grain, s.end), worker);
        } catch (...) {
          for (Stretch& all : stretches) all.next.store(all.end, std::memory_order_relaxed);
          const std::lock_guard lock(error_mutex);
          if (!error) error = std::current_exception();
        }
      }
    }
  }

  void run(int worker, std::chrono::nanoseconds limit) {
    const std::size_t node = node_of_worker[static_cast<std::size_t>(worker)];
    // Refused where another program narrows the mask meanwhile: then the worker runs anywhere.
    if (nodes.size() > 1) pin_this_thread(nodes[node].cpus);
    Patience patience(limit);
    std::uint32_t seen = 0;
    const auto has_job = [&] {
      const std::uint32_t now = epoch.load(std::memory_order_seq_cst);
      return is_open(now) && now != seen;
    };
    for (;;) {
      if (!patience.spin(has_job)) {
        sleeping.fetch_add(1, std::memory_order_seq_cst);
        for (std::uint32_t now;
             now = epoch.load(std::memory_order_seq_cst), !is_open(now) || now == seen;)
          epoch.wait(now, std::memory_order_seq_cst);
        sleeping.fetch_sub(1, std::memory_order_seq_cst);
        patience.slept();
      }
      if (stop.load(std::memory_order_relaxed)) return;
      inside.fetch_add(1, std::memory_order_seq_cst);
      const std::uint32_t now = epoch.load(std::memory_order_seq_cst);
      // The destructor's epoch looks like a job. Once it is seen, so is the stop before it.
      if (is_open(now) && !stop.load(std::memory_order_seq_cst)) {
        seen = now;
        work(worker, node);
      }
      if (inside.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
          caller_sleeps.load(std::memory_order_seq_cst))
        inside.notify_one();
    }
  }

  void join_workers() {
    stop.store(true, std::memory_order_seq_cst);
    epoch.fetch_add(1, std::memory_order_seq_cst);
    epoch.notify_all();
    for (auto& t : workers) t.join();
  }

  // Wakes as many sleepers as the ranges want beside the workers that are awake. A system call only
  // if somebody sleeps; who is about to sleep looks at the epoch once more.
  void wake(std::int64_t ranges) {
    const int asleep = sleeping.load(std::memory_order_seq_cst);
    if (asleep == 0) return;
    const auto awake = static_cast<std::int64_t>(workers.size()) - asleep;
    const std::int64_t wanted = ranges - 1 - awake;
    if (wanted >= asleep) return epoch.notify_all();
    for (std::int64_t i = 0; i < wanted; ++i) epoch.notify_one();
  }

  void wait_for_workers() {
    const auto left = [&] { return inside.load(std::memory_order_seq_cst) == 0; };
    if (caller_patience.spin(left)) return;
    caller_sleeps.store(true, std::memory_order_seq_cst);
    for (int now; (now = inside.load(std::memory_order_seq_cst)) != 0;)
      inside.wait(now, std::memory_order_seq_cst);
    caller_sleeps.store(false, std::memory_order_seq_cst);
    caller_patience.slept();
  }
};

ThreadPool::ThreadPool(const ThreadPoolOptions& options)
    : num_threads_(options.num_threads > 0 ? options.num_threads : num_usable_cpus()),
      state_(std::make_unique<State>()) {
  State& s = *state_;
  const auto nodes =
      options.nodes.empty() ? usable_nodes(numa_nodes(), affinity_cpus()) : options.nodes;
  // Thread i goes where CPU i * cpus / threads lies: every CPU gets its share. Nodes that get no
  // thread have no part in the work.
  std::vector<std::size_t> node_of;
  for (std::size_t n = 0; n < nodes.size(); ++n)
    node_of.insert(node_of.end(), nodes[n].cpus.size(), n);
  OCTET_CHECK(!node_of.empty(), "thread pool: {} nodes without a CPU", nodes.size());
  const auto threads = static_cast<std::size_t>(num_threads_);
  for (std::size_t i = 0; i < threads; ++i) {
    const NumaNode& node = nodes[node_of[i * node_of.size() / threads]];
    if (s.nodes.empty() || s.nodes.back().id != node.id) {
      s.nodes.push_back(node);
      s.threads_upto.push_back(static_cast<std::int64_t>(i));
    }
    s.node_of_worker.push_back(s.nodes.size() - 1);
  }
  s.threads_upto.push_back(num_threads_);
  s.stretches = std::vector<Stretch>(s.nodes.size());
  if (s.nodes.size() > 1)
    for (std::size_t n = s.nodes.size(); n-- > 0;)
      for (const int cpu : s.nodes[n].cpus) {
        const auto at = static_cast<std::size_t>(cpu);
        if (s.node_of_cpu.size() <= at) s.node_of_cpu.resize(at + 1, 0);
        s.node_of_cpu[at] = n;
      }
  const auto spin = num_threads_ > num_usable_cpus() ? std::chrono::nanoseconds(0) : options.spin;
  s.caller_patience = Patience(spin);
  try {
    for (int i = 1; i < num_threads_; ++i)
      s.workers.emplace_back([&s, i, spin] {
        name_this_thread("octet-pool-" + std::to_string(i));
        s.run(i, spin);
      });
  } catch (const std::system_error& e) {
    s.join_workers();
    fail(ErrorCode::unavailable,
         "can't start thread {} of {}: {}; ask for fewer (--threads), or allow more processes",
         s.workers.size() + 2, num_threads_, e.what());
  }
}

ThreadPool::~ThreadPool() {
  state_->join_workers();
}

int ThreadPool::num_nodes() const {
  return static_cast<int>(state_->nodes.size());
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
  s.grain = grain;
  const std::int64_t ranges = (count - 1) / grain + 1;
  for (std::size_t n = 0; n < s.stretches.size(); ++n) {
    const auto bound = [&](std::size_t node) {
      return std::min(ranges * s.threads_upto[node] / num_threads_ * grain, count);
    };
    s.stretches[n].next.store(bound(n), std::memory_order_relaxed);
    s.stretches[n].end = bound(n + 1);
  }
  std::size_t node = 0;
  if (s.nodes.size() > 1) {
    const auto cpu = static_cast<std::size_t>(std::max(0, current_cpu()));
    if (cpu < s.node_of_cpu.size()) node = s.node_of_cpu[cpu];
  }
  s.epoch.fetch_add(1, std::memory_order_seq_cst);
  s.wake(ranges);
  s.work(0, node);
  s.epoch.fetch_add(1, std::memory_order_seq_cst);
  s.wait_for_workers();
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

int num_usable_cpus() {
  int cpus = static_cast<int>(affinity_cpus().size());
  // cgroup v2: "MAX PERIOD" in microseconds; a container with a quota of 2 CPUs on a large host.
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0) {
    const double share = std::atof(quota.c_str()) / period;
    cpus = std::min(cpus, std::max(1, static_cast<int>(share)));
  }
  return cpus;
}

}  // namespace octet
