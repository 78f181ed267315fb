#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/common.h"

namespace octet::cli {

/// `octet bench --engine`: whole answers by the engine that `octet serve` has, alone and through
/// the server, by turns in one process with one set of weights.
struct BenchEngineOptions {
  std::string model = "tiny";  ///< tokenizer and template, and the weights without a shape
  std::string synthetic;       ///< shape of random weights; empty: the model's own weights
  std::vector<std::int64_t> concurrency{1, 16, 64};
  std::int64_t tokens = 32;  ///< of each answer
  std::int64_t rounds = 3;
  bool http = false, sampled = false, as_json = false;
};

/// Prints a table or JSON. Tokens/s `decode` are those of steps in which all answers take part;
/// `whole` is from the first request to the last byte, prompts included. Errors: as octet serve.
void bench_engine(const BenchEngineOptions& options, const ComputeOptions& compute);

}  // namespace octet::cli
