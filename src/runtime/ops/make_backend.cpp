#include "runtime/ops/make_backend.h"

#include <fmt/ranges.h>

#include "runtime/ops/cpu/cpu_backend.h"
#include "runtime/ops/reference/reference_backend.h"

namespace octet::ops {

std::unique_ptr<Backend> make_backend(const BackendOptions& options, ThreadPool& pool) {
  const std::string& activations = options.activations;
  if (activations != "auto" && activations != "int8" && activations != "int16" &&
      activations != "float32")
    fail(ErrorCode::invalid_argument, "activations `{}`: expected auto, int8, int16 or float32",
         activations);
  if (options.backend == "reference") {
    if (activations.starts_with("int"))
      fail(ErrorCode::invalid_argument,
           "the reference backend rounds no activations; use --activations float32");
    return reference::make_reference_backend(pool);
  }
  if (options.backend == "auto" || options.backend == "cpu") {
    const int terms = activations == "float32" ? 0 : activations == "int8" ? 1 : 2;
    return cpu::make_cpu_backend(options.isa, terms, pool);
  }
  if (options.backend == "cuda")
    fail(ErrorCode::unavailable,
         "this build has no CUDA backend; use --backend cpu, or build with CUDA");
  fail(ErrorCode::invalid_argument, "unknown backend `{}`; expected auto, reference or cpu",
       options.backend);
}

}  // namespace octet::ops
