#pragma once

#include <string>

#include "cli/common.h"

namespace octet::cli {

struct BenchQuantizeOptions {
  std::string synthetic;        ///< "27b:layers=4"
  std::string preset = "best";  ///< as octet quantize
  std::string work_folder;      ///< empty: the system's temporary folder
  std::int64_t bits = 8, samples = 8, tokens = 512;
  bool as_json = false;
};

/// Quantizes a checkpoint of a published size with random weights, written to a temporary folder,
/// by the same code as `octet quantize`; prints times by phase, rates beside the machine's own, and
/// memory beside the plan.
void bench_quantize(const BenchQuantizeOptions& options, const ComputeOptions& compute);

}  // namespace octet::cli
