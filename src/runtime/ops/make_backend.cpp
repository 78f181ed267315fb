#include "runtime/ops/make_backend.h"

#include <fmt/ranges.h>

#include <map>

#include "runtime/ops/cpu/cpu_backend.h"
#include "runtime/ops/reference/reference_backend.h"

namespace octet::ops {

std::unique_ptr<Backend> make_backend(const BackendOptions& options, ThreadPool& pool) {
  const std::string& activations = options.activations;
  static const std::map<std::string, cpu::Rounding> kRoundings{{"auto", cpu::Rounding::int16},
                                                               {"int8", cpu::Rounding::int8},
                                                               {"int16", cpu::Rounding::int16},
                                                               {"bf16", cpu::Rounding::bf16},
                                                               {"float32", cpu::Rounding::none}};
  const auto rounding = kRoundings.find(activations);
  if (rounding == kRoundings.end())
    fail(ErrorCode::invalid_argument,
         "activations `{}`: expected auto, int8, int16, bf16 or float32", activations);
  if (options.backend == "reference") {
    if (activations != "auto" && activations != "float32")
      fail(ErrorCode::invalid_argument,
           "the reference backend rounds no activations; use --activations float32");
    return reference::make_reference_backend(pool);
  }
  if (options.backend == "auto" || options.backend == "cpu") {
    return cpu::make_cpu_backend(options.isa, rounding->second, pool);
  }
  if (options.backend == "cuda")
    fail(ErrorCode::unavailable,
         "this build has no CUDA backend; use --backend cpu, or build with CUDA");
  fail(ErrorCode::invalid_argument, "unknown backend `{}`; expected auto, reference or cpu",
       options.backend);
}

}  // namespace octet::ops
