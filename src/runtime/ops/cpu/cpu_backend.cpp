#include "runtime/ops/cpu/cpu_backend.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "runtime/base/cpu_features.h"
#include "runtime/ops/cpu/cpu_impl.h"
#include "runtime/ops/cpu/isa.h"

namespace octet::ops::cpu {

std::unique_ptr<Backend> make_cpu_backend(const std::string& isa, Rounding rounding,
                                          ThreadPool& pool) {
  return std::make_unique<CpuBackend>(choose_isa(isa), choose_kernels(isa),
                                      choose_int8_kernels(isa), rounding, pool);
}

Tensor CpuBackend::allocate(DType type, Shape shape) {
  return make_host_tensor(type, std::move(shape));
}

void CpuBackend::upload(std::span<const std::byte> from, TensorView to) {
  OCTET_CHECK(from.size() == to.bytes(), "upload of {} bytes to {}", from.size(), to.bytes());
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

void CpuBackend::download(TensorView from, std::span<std::byte> to) {
  OCTET_CHECK(to.size() == from.bytes(), "download of {} bytes to {}", from.bytes(), to.size());
  if (!to.empty()) std::memcpy(to.data(), from.data(), to.size());
}

void CpuBackend::embed(TensorView table, TensorView ids, TensorView y) {
  const std::int64_t width = table.dim(1);
  check_rows("embed", y, ids.size(), width);
  const auto* data = static_cast<const std::byte*>(table.data());
  const std::size_t element = dtype_bytes(table.dtype());
  for (std::int64_t r = 0; r < ids.size(); ++r) {
    const std::byte* row = data + size(ids.as<std::int32_t>()[r] * width) * element;
    float* out = y.as<float>() + r * width;
    if (table.dtype() == DType::f32) {
      std::memcpy(out, row, size(width) * 4);
      continue;
    }
    for (std::int64_t i = 0; i < width; ++i) {
      std::uint16_t h;
      std::memcpy(&h, row + 2 * i, 2);
      out[i] = table.dtype() == DType::bf16 ? bf16_to_float(h) : f16_to_float(h);
    }
  }
}

void CpuBackend::add(TensorView x, TensorView delta) {
  OCTET_CHECK(x.shape() == delta.shape(), "add: {} and {}", to_string(x.shape()),
              to_string(delta.shape()));
  pool_.parallel_for(x.size(), 1 << 15, [&](std::int64_t begin, std::int64_t end, int) {
    kernels_.add(x.as<float>() + begin, delta.as<float>() + begin, end - begin);
  });
}

void CpuBackend::silu_mul(TensorView x, TensorView y) {
  const std::int64_t rows = y.dim(0), width = y.dim(1);
  check_rows("silu_mul", x, rows, 2 * width);
  // Pieces of a row, so that one row also feeds every thread.
  constexpr std::int64_t kPiece = 2048;
  const std::int64_t pieces = (width + kPiece - 1) / kPiece;
  pool_.parallel_for(rows * pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t r = item / pieces, i = item % pieces * kPiece;
      const float* gate = x.as<float>() + r * 2 * width + i;
      kernels_.silu_mul(gate, gate + width, std::min(kPiece, width - i),
                        y.as<float>() + r * width + i);
    }
  });
}

MachineSpeed measure_machine(const std::string& isa, ThreadPool& pool) {
  using Clock = std::chrono::steady_clock;
  const CpuKernels& kernels = choose_kernels(isa);
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  MachineSpeed speed;
  // 512 MiB: larger than any cache that two threads would find warm.
  constexpr std::int64_t kBytes = std::int64_t{512} << 20, kStep = std::int64_t{1} << 20;
  const Tensor block = make_host_tensor(DType::u8, {kBytes});
  std::vector<std::uint64_t> sums(size(pool.num_threads()));
  const auto* data = static_cast<const std::byte*>(block.view().data());
  // Touched first by who will read it: on several nodes the block lies where weights would.
  pool.parallel_for(kBytes / kStep, 8, [&](std::int64_t begin, std::int64_t end, int) {
    std::memset(static_cast<std::byte*>(block.view().data()) + begin * kStep, 1,
                size((end - begin) * kStep));
  });
  for (int round = 0; round < 4; ++round) {
    const auto start = Clock::now();
    pool.parallel_for(kBytes / kStep, 8, [&](std::int64_t begin, std::int64_t end, int worker) {
      sums[size(worker)] += kernels.read_memory(data + begin * kStep, size((end - begin) * kStep));
    });
    speed.read_bytes_per_second =
        std::max(speed.read_bytes_per_second, static_cast<double>(kBytes) / seconds_since(start));
  }
  // Operations of all threads over the time of the slowest, the best of three rounds.
  const auto peak = [&](auto&& work) {
    double best = 0;
    std::vector<double> done(size(pool.num_threads()) * 8);
    for (int round = 0; round < 3; ++round) {
      const auto start = Clock::now();
      pool.parallel_for(pool.num_threads(), 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t i = begin; i < end; ++i) done[size(i) * 8] = work();
      });
      double total = 0;
      for (std::size_t i = 0; i < done.size(); i += 8) total += done[i];
      best = std::max(best, total / seconds_since(start));
    }
    return best;
  };
  speed.f32_flops_per_second = peak([&] {
    float sink = 0;
    return kernels.fma_peak(4'000'000, &sink);
  });
  const Int8Kernels& int8 = choose_int8_kernels(isa);
  speed.int8_ops_per_second = peak([&] {
    std::int32_t sink = 0;
    return int8.dot_peak(2'000'000, &sink);
  });
  return speed;
}

}  // namespace octet::ops::cpu
