#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "generate/engine.h"
#include "serve/http/server.h"

namespace octet::serve {

/// What a finished answer adds to the metrics.
struct AnswerMetrics {
  std::string finish_reason;  ///< stop, length, abort, error, repetition
  std::int64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0, max_tokens = 0, n = 1;
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0, first_token_seconds = 0,
         total_seconds = 0;
};

/// Counters, gauges and histograms under vLLM's and llama-server's names and octet's own
/// (serving.md §18). Any thread.
class Metrics {
 public:
  /// max_model_len: the largest bucket of the histograms of lengths is not above it.
  explicit Metrics(std::string model_name, std::int64_t max_model_len = 262144);
  ~Metrics();
  void count_answer(const AnswerMetrics& answer);
  void count_token_gap(double seconds);  ///< for every token but an answer's first: 20 ns
  void count_step(const generate::StepReport& step);
  void count_access(const AccessRecord& record);
  void set_cache_config(const std::vector<std::pair<std::string, std::string>>& labels);
  void set_load_progress(double progress);
  void count_grammar_compile(double seconds);
  void count_watchdog_stall();
  void count_nan_guard_trip();
  /// Bytes of a device's memory by what they are for ("weights", "kv", "snapshots").
  void set_device_memory(const std::string& device, const std::string& kind, std::size_t bytes);
  /// Prometheus text 0.0.4, or OpenMetrics; gauges and the engine's counters are taken from the
  /// statuses. Some 300 us.
  std::string text(const generate::EngineStatus& engine, const HttpStatus& http,
                   bool open_metrics) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet::serve
