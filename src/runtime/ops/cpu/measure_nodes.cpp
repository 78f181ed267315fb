#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/ops/cpu/cpu_backend.h"
#include "runtime/ops/cpu/cpu_impl.h"
#include "runtime/ops/cpu/isa.h"

namespace octet::ops::cpu {

namespace {

// Calls work(pool) on a pool whose threads all run on these processors: threads inherit the mask of
// the one that makes them, and the caller's own mask stays as it was.
template <typename Work>
void on_processors(const std::vector<int>& cpus, const Work& work) {
  std::exception_ptr error;
  std::thread([&] {
    try {
      if (!pin_this_thread(cpus))
        fail(ErrorCode::unavailable, "the system does not let a thread run on CPU {} alone",
             cpus.empty() ? -1 : cpus.front());
      ThreadPool pool(
          ThreadPoolOptions{.num_threads = static_cast<int>(cpus.size()), .nodes = {{0, cpus}}});
      work(pool);
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
}

}  // namespace

std::vector<std::vector<double>> measure_nodes(const std::string& isa,
                                               const std::vector<NumaNode>& nodes,
                                               std::int64_t bytes) {
  using Clock = std::chrono::steady_clock;
  const CpuKernels& kernels = choose_kernels(isa);
  constexpr std::int64_t kStep = std::int64_t{1} << 20;
  const std::int64_t steps = std::max<std::int64_t>(1, bytes / kStep);
  std::vector<std::vector<double>> speed(nodes.size(), std::vector<double>(nodes.size()));
  for (std::size_t memory = 0; memory < nodes.size(); ++memory) {
    // Fresh pages, which the first touch places.
    const Tensor block = make_host_tensor(DType::u8, {steps * kStep});
    auto* data = static_cast<std::byte*>(block.view().data());
    on_processors(nodes[memory].cpus, [&](ThreadPool& pool) {
      pool.parallel_for(steps, 2, [&](std::int64_t begin, std::int64_t end, int) {
        std::memset(data + begin * kStep, 1, size((end - begin) * kStep));
      });
    });
    for (std::size_t reader = 0; reader < nodes.size(); ++reader)
      on_processors(nodes[reader].cpus, [&](ThreadPool& pool) {
        std::vector<std::uint64_t> sums(size(pool.num_threads()) * 8);
        for (int round = 0; round < 4; ++round) {
          const auto start = Clock::now();
          pool.parallel_for(steps, 2, [&](std::int64_t begin, std::int64_t end, int worker) {
            sums[size(worker) * 8] +=
                kernels.read_memory(data + begin * kStep, size((end - begin) * kStep));
          });
          const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
          speed[reader][memory] =
              std::max(speed[reader][memory], static_cast<double>(steps * kStep) / seconds);
        }
      });
  }
  return speed;
}

}  // namespace octet::ops::cpu
