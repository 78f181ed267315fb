#include "runtime/ops/make_backend.h"

#include <fmt/ranges.h>

#include "runtime/ops/cpu/cpu_backend.h"
#include "runtime/ops/reference/reference_backend.h"

namespace octet::ops {

std::unique_ptr<Backend> make_backend(const BackendOptions& options, ThreadPool& pool) {
  if (options.backend == "reference") return reference::make_reference_backend(pool);
  if (options.backend == "auto" || options.backend == "cpu")
    return cpu::make_cpu_backend(options.isa, pool);
  if (options.backend == "cuda")
    fail(ErrorCode::unavailable,
         "this build has no CUDA backend; use --backend cpu, or build with CUDA");
  fail(ErrorCode::invalid_argument, "unknown backend `{}`; expected auto, reference or cpu",
       options.backend);
}

}  // namespace octet::ops
