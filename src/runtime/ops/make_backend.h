#pragma once

#include <memory>
#include <string>

#include "runtime/ops/backend.h"

namespace octet::ops {

struct BackendOptions {
  std::string backend = "auto";  ///< auto, reference, cpu
  std::string isa = "auto";      ///< cpu: auto, generic, avx2, avx512
};

/// Makes a backend that computes on the given pool, which must outlive it.
/// Errors: invalid_argument for an unknown name; unavailable for one that this machine or build
/// lacks, with what there is.
std::unique_ptr<Backend> make_backend(const BackendOptions& options, ThreadPool& pool);

}  // namespace octet::ops
