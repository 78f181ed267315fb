#pragma once

#include <memory>
#include <string>

#include "runtime/ops/backend.h"

namespace octet::ops {

struct BackendOptions {
  std::string backend = "auto";  ///< auto, reference, cpu
  std::string isa = "auto";      ///< cpu: auto, generic, avx2, avx_vnni, avx512, amx
  /// What the inputs of quantized linears are rounded to, in groups of 32: int8; int16, which are
  /// two int8 (15 bits and their sign). bf16: each for itself, then as float32; float32: not
  /// rounded. auto: int16 on the cpu.
  std::string activations = "float32";
};

/// Makes a backend that computes on the given pool, which must outlive it.
/// Errors: invalid_argument for an unknown name; unavailable for one that this machine or build
/// lacks, with what there is.
std::unique_ptr<Backend> make_backend(const BackendOptions& options, ThreadPool& pool);

}  // namespace octet::ops
