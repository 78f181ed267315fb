#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quantize/quantizer.h"

namespace octet {
class ThreadPool;
}

namespace octet::quantize {

/// In which order columns are rounded: what comes first is corrected by what follows.
enum class ColumnOrder {
  natural,
  /// Groups by their largest diag(H), inside a group columns by diag(H): the file stays an ordinary
  /// one with contiguous groups. The reference's act_group_aware.
  group_aware,
  descending,  ///< by diag(H); needs static scales
};

/// Which weights a group's scale is taken from.
enum class ScaleSource {
  stale,     ///< as corrected up to the last block of 128 columns: the reference
  fresh,     ///< as corrected up to the column before
  original,  ///< before any correction ("static groups")
};

struct GptqOptions {
  std::int64_t bits = 8;
  std::int64_t group_size = 32;  ///< divides in_features
  double damp_percent = 0.05;    ///< of the mean of diag(H), added to it
  double damp_increment = 0.01;  ///< added to damp_percent when the factorization fails
  ColumnOrder order = ColumnOrder::group_aware;
  ScaleSource scales = ScaleSource::original;
  std::int64_t block = 128;
  ScaleRule scale_rule{};  ///< bits is taken from above
};

struct GptqReport {
  double loss = 0;            ///< sum over weights of (w - q)^2 / U_cc^2 / 2, over tokens
  double relative_error = 0;  ///< tr(D H D^T) / tr(W H W^T), D the error, H damped
  double damp_percent = 0;    ///< what was needed
  std::int64_t dead_columns = 0, clipped = 0;
};

/// Column order for options, perm[new] = old; ties by index. diag: of H after dead columns are
/// mended.
std::vector<std::int64_t> column_order(std::span<const double> diag, ColumnOrder order,
                                       std::int64_t group_size);

/// GPTQ for one linear. weight [out, in]; hessian [in, in] = (2 / tokens) x^T x, consumed.
/// Same bits for any number of threads. Errors: bad_data if weights are not finite, or if H can't
/// be factored with any damping below 1 (never a silent fall-back).
/// Source: arXiv 2210.17323; docs/quantization.md for the reference's order of operations.
QuantizedMatrix quantize_gptq(std::span<const float> weight, std::int64_t out_features,
                              std::int64_t in_features, std::vector<double> hessian,
                              std::int64_t num_tokens, const GptqOptions& options, ThreadPool& pool,
                              GptqReport* report = nullptr);

}  // namespace octet::quantize
