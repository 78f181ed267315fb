#include "serve/metrics.h"

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "serve/histogram.h"
#include "serve/metric_families.h"

namespace octet::serve {

namespace {

using Counter = std::atomic<std::int64_t>;

constexpr double kNano = 1e9;

std::vector<double> first_token_bounds() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
}
// vLLM's, and three below them.
std::vector<double> token_bounds() {
  return {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
          .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
}
std::vector<double> request_bounds() {
  return {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
          30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
}
std::vector<double> step_bounds() {
  return {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
}
std::vector<double> http_bounds() {
  return {.005, .025, .1, .5, 1, 5, 30, 120, 600};
}
std::vector<double> compile_bounds() {
  return {.001, .005, .025, .1, .5, 1, 5};
}
// 1, 2, 5, 10, ... up to the longest.
std::vector<double> length_bounds(std::int64_t max) {
  std::vector<double> out;
  for (double power = 1; out.empty() || power <= static_cast<double>(max); power *= 10)
    for (const double mantissa : {1.0, 2.0, 5.0})
      if (mantissa * power <= static_cast<double>(max) || out.empty())
        out.push_back(mantissa * power);
  return out;
}

constexpr std::array<const char*, 5> kReasons{"stop", "length", "abort", "error", "repetition"};
constexpr std::array<const char*, 8> kMethods{"GET",    "POST",  "HEAD", "OPTIONS",
                                              "DELETE", "PATCH", "PUT",  "other"};

std::size_t method_index(const std::string& method) {
  for (std::size_t i = 0; i + 1 < kMethods.size(); ++i)
    if (method == kMethods[i]) return i;
  return kMethods.size() - 1;
}

// What requests of one route and method came to.
struct HttpCounts {
  std::array<std::int64_t, 6> by_class{};  // status / 100
  Histogram seconds{http_bounds(), kNano};
};
struct HttpSizes {
  std::int64_t requests = 0;
  double request_bytes = 0, response_bytes = 0;
};

double share(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

struct Metrics::Impl {
  Impl(std::string model, std::int64_t max_model_len)
      : model_name(std::move(model)), lengths(length_bounds(max_model_len)) {}

  const std::string model_name;
  const std::vector<double> lengths;

  Histogram first_token{first_token_bounds(), kNano}, token_gap{token_bounds(), kNano},
      per_token{token_bounds(), kNano}, total{request_bounds(), kNano},
      queue{request_bounds(), kNano}, prefill{request_bounds(), kNano},
      decode{request_bounds(), kNano}, inference{request_bounds(), kNano},
      step_tokens{step_bounds()}, prompt_length{lengths}, answer_length{lengths},
      longest_answer{lengths}, max_tokens{lengths}, n{{1, 2, 5, 10, 20}},
      grammar{compile_bounds(), kNano}, vision{compile_bounds(), kNano};
  std::array<Counter, kReasons.size()> by_reason{};
  Counter stalls = 0, nan_trips = 0, decode_rows = 0, longest = 0;
  std::atomic<double> load_progress = 0;

  mutable std::mutex mutex;  // of what follows
  std::map<std::pair<std::string, std::size_t>, HttpCounts> http;
  std::map<std::string, HttpSizes> sizes;
  std::vector<std::pair<std::string, std::string>> cache_config;
  std::map<std::pair<std::string, std::string>, std::size_t> memory;

  void add_vllm(MetricFamilies& f, const generate::EngineStatus& e) const;
  void add_vllm_requests(MetricFamilies& f) const;
  void add_llama(MetricFamilies& f, const generate::EngineStatus& e) const;
  void add_own(MetricFamilies& f, const generate::EngineStatus& e) const;
  void add_http(MetricFamilies& f, const HttpStatus& status) const;
};

Metrics::Metrics(std::string model_name, std::int64_t max_model_len)
    : impl_(std::make_unique<Impl>(std::move(model_name), max_model_len)) {}
Metrics::~Metrics() = default;

void Metrics::count_answer(const AnswerMetrics& a) {
  Impl& m = *impl_;
  for (std::size_t i = 0; i < kReasons.size(); ++i)
    if (a.finish_reason == kReasons[i]) m.by_reason[i].fetch_add(1, std::memory_order_relaxed);
  m.queue.observe(a.queue_seconds);
  m.prefill.observe(a.prefill_seconds);
  m.decode.observe(a.decode_seconds);
  m.inference.observe(a.prefill_seconds + a.decode_seconds);
  m.total.observe(a.total_seconds);
  if (a.answer_tokens > 0) m.first_token.observe(a.first_token_seconds);
  if (a.answer_tokens > 1)
    m.per_token.observe(a.decode_seconds / static_cast<double>(a.answer_tokens - 1));
  m.prompt_length.observe(static_cast<double>(a.prompt_tokens));
  m.answer_length.observe(static_cast<double>(a.answer_tokens));
  m.longest_answer.observe(static_cast<double>(a.answer_tokens));
  m.max_tokens.observe(static_cast<double>(a.max_tokens));
  m.n.observe(static_cast<double>(a.n));
  const std::int64_t length = a.prompt_tokens + a.answer_tokens;
  std::int64_t longest = m.longest.load(std::memory_order_relaxed);
  while (length > longest && !m.longest.compare_exchange_weak(longest, length)) {
  }
}

void Metrics::count_token_gap(double seconds) {
  impl_->token_gap.observe(seconds);
}

void Metrics::count_step(const generate::StepReport& step) {
  impl_->step_tokens.observe(static_cast<double>(step.prompt_rows + step.decode_rows));
  impl_->decode_rows.fetch_add(step.decode_rows, std::memory_order_relaxed);
}

void Metrics::count_access(const AccessRecord& record) {
  Impl& m = *impl_;
  // Routes are the server's own and few; a path that is none of them has no name. The bound is for
  // whoever breaks that.
  constexpr std::size_t kMostHandlers = 128;
  const std::string route = record.route.empty() ? "none" : record.route;
  const std::lock_guard lock(m.mutex);
  const bool room = m.sizes.size() < kMostHandlers || m.sizes.contains(route);
  const std::string handler = room ? route : "other";
  HttpCounts& counts = m.http[{handler, method_index(record.method)}];
  const bool known = record.status >= 100 && record.status < 600;
  ++counts.by_class[known ? static_cast<std::size_t>(record.status / 100) : 0];
  counts.seconds.observe(record.seconds);
  HttpSizes& sizes = m.sizes[handler];
  ++sizes.requests;
  sizes.request_bytes += static_cast<double>(record.request_bytes);
  sizes.response_bytes += static_cast<double>(record.response_bytes);
}

void Metrics::set_cache_config(const std::vector<std::pair<std::string, std::string>>& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->cache_config = labels;
}

void Metrics::set_load_progress(double progress) {
  impl_->load_progress.store(progress, std::memory_order_relaxed);
}

void Metrics::count_grammar_compile(double seconds) {
  impl_->grammar.observe(seconds);
}

void Metrics::count_watchdog_stall() {
  impl_->stalls.fetch_add(1, std::memory_order_relaxed);
}

void Metrics::count_nan_guard_trip() {
  impl_->nan_trips.fetch_add(1, std::memory_order_relaxed);
}

void Metrics::set_device_memory(const std::string& device, const std::string& kind,
                                std::size_t bytes) {
  const std::lock_guard lock(impl_->mutex);
  impl_->memory[{device, kind}] = bytes;
}

void Metrics::Impl::add_vllm(MetricFamilies& f, const generate::EngineStatus& e) const {
  const double kv = share(e.kv_pages_used, e.kv_pages_total);
  f.gauge("vllm:num_requests_running", "Answers that are stepped.", double(e.running));
  f.gauge("vllm:num_requests_waiting", "Requests that wait for a place.", double(e.waiting));
  const std::string by_reason_text = "Requests that wait, by what they wait for.";
  f.gauge("vllm:num_requests_waiting_by_reason", by_reason_text, double(e.waiting),
          {{"reason", "capacity"}});
  f.gauge("vllm:num_requests_waiting_by_reason", by_reason_text, 0, {{"reason", "deferred"}});
  for (const char* sleep : {"awake", "weights_offloaded", "discard_all"})
    f.gauge("vllm:engine_sleep_state", "1 for the state that the engine is in; it never sleeps.",
            sleep == std::string_view("awake"), {{"sleep_state", sleep}});
  f.gauge("vllm:kv_cache_usage_perc", "Share of KV pages in use, 0 to 1.", kv);
  f.gauge("vllm:gpu_cache_usage_perc", "Older name of vllm:kv_cache_usage_perc.", kv);
  f.counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
            double(e.prefix_query_tokens));
  f.counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
            double(e.prefix_hit_tokens));
  f.counter("vllm:mm_cache_queries_total", "Media looked up in the cache of encoded media.", 0);
  f.counter("vllm:mm_cache_hits_total", "Media found in the cache of encoded media.", 0);
  f.counter("vllm:num_preemptions_total", "Answers that had to give their pages back.",
            double(e.preemptions));
  f.counter("vllm:prompt_tokens_total", "Prompt tokens, cached ones included.",
            double(e.prompt_tokens + e.prefix_hit_tokens));
  f.counter("vllm:prompt_tokens_cached_total", "Prompt tokens taken from the prefix cache.",
            double(e.prefix_hit_tokens));
  const std::string by_source = "Prompt tokens by where they came from.";
  f.counter("vllm:prompt_tokens_by_source_total", by_source, double(e.prompt_tokens),
            {{"source", "local_compute"}});
  f.counter("vllm:prompt_tokens_by_source_total", by_source, double(e.prefix_hit_tokens),
            {{"source", "local_cache_hit"}});
  f.counter("vllm:prompt_tokens_by_source_total", by_source, 0, {{"source", "external"}});
  f.counter("vllm:generation_tokens_total", "Tokens generated.", double(e.answer_tokens));
  for (std::size_t i = 0; i < kReasons.size(); ++i)
    f.counter("vllm:request_success_total", "Answers by how they ended.", double(by_reason[i]),
              {{"finished_reason", kReasons[i]}});
  f.histogram("vllm:iteration_tokens_total", "Rows of a step.", step_tokens);
}

void Metrics::Impl::add_vllm_requests(MetricFamilies& f) const {
  f.histogram("vllm:request_prompt_tokens", "Tokens of prompts.", prompt_length);
  f.histogram("vllm:request_generation_tokens", "Tokens of answers.", answer_length);
  f.histogram("vllm:request_max_num_generation_tokens", "Tokens of a request's longest answer.",
              longest_answer);
  f.histogram("vllm:request_params_max_tokens", "max_tokens of requests.", max_tokens);
  f.histogram("vllm:request_params_n", "n of requests.", n);
  f.histogram("vllm:time_to_first_token_seconds", "From the request to its first token.",
              first_token);
  f.histogram("vllm:inter_token_latency_seconds", "From one token to the next.", token_gap);
  f.histogram("vllm:time_per_output_token_seconds",
              "Older name of vllm:inter_token_latency_seconds.", token_gap);
  f.histogram("vllm:request_time_per_output_token_seconds", "Mean time of a token of an answer.",
              per_token);
  f.histogram("vllm:e2e_request_latency_seconds", "From the request to its end.", total);
  f.histogram("vllm:request_queue_time_seconds", "Waiting for a place.", queue);
  f.histogram("vllm:request_prefill_time_seconds", "Taking the prompt in.", prefill);
  f.histogram("vllm:request_decode_time_seconds", "From the first token to the last.", decode);
  f.histogram("vllm:request_inference_time_seconds", "Prompt and answer together.", inference);
  f.counter("vllm:spec_decode_num_drafts_total", "Drafts.", 0);
  f.counter("vllm:spec_decode_num_draft_tokens_total", "Tokens drafted.", 0);
  f.counter("vllm:spec_decode_num_accepted_tokens_total", "Drafted tokens that were accepted.", 0);
  f.counter("vllm:spec_decode_num_accepted_tokens_per_pos_total",
            "Drafted tokens that were accepted, by place.", 0, {{"position", "0"}});
  f.gauge("vllm:cache_config_info", "Settings of the caches, as labels.", 1, cache_config);
  f.gauge("vllm:lora_requests_info", "Requests by adapter; there are none.", 0,
          {{"max_lora", "0"}, {"waiting_lora_adapters", ""}, {"running_lora_adapters", ""}});
}

void Metrics::Impl::add_llama(MetricFamilies& f, const generate::EngineStatus& e) const {
  const double prompt = prefill.sum(), predicted = decode.sum();
  f.counter("llamacpp:prompt_tokens_total", "Prompt tokens taken in.", double(e.prompt_tokens));
  f.counter("llamacpp:prompt_seconds_total", "Time of taking prompts in.", prompt);
  f.counter("llamacpp:tokens_predicted_total", "Tokens generated.", double(e.answer_tokens));
  f.counter("llamacpp:tokens_predicted_seconds_total", "Time of generating.", predicted);
  f.gauge("llamacpp:prompt_tokens_seconds", "Mean prompt tokens in a second of a request.",
          prompt > 0 ? prompt_length.sum() / prompt : 0);
  f.gauge("llamacpp:predicted_tokens_seconds", "Mean generated tokens in a second of a request.",
          predicted > 0 ? answer_length.sum() / predicted : 0);
  f.gauge("llamacpp:requests_processing", "Answers that are stepped.", double(e.running));
  f.gauge("llamacpp:requests_deferred", "Requests that wait for a place.", double(e.waiting));
  f.gauge("llamacpp:n_tokens_max", "Tokens of the longest sequence so far.", double(longest));
  f.counter("llamacpp:n_decode_total", "Steps.", double(e.steps));
  f.gauge("llamacpp:n_busy_slots_per_decode", "Mean answers in a step.",
          share(decode_rows, e.steps));
  f.counter("llamacpp:spec_decode_num_drafts_total", "Drafts.", 0);
  f.counter("llamacpp:spec_decode_num_draft_tokens_total", "Tokens drafted.", 0);
  f.counter("llamacpp:spec_decode_num_accepted_tokens_total", "Drafted tokens that were accepted.",
            0);
  f.counter("llamacpp:spec_decode_num_accepted_tokens_per_pos_total",
            "Drafted tokens that were accepted, by place.", 0, {{"position", "0"}});
}

void Metrics::Impl::add_own(MetricFamilies& f, const generate::EngineStatus& e) const {
  std::size_t snapshot_bytes = 0;
  for (const auto& [key, bytes] : memory)
    if (key.second == "snapshots") snapshot_bytes += bytes;
  f.gauge("octet:gdn_state_slots_used", "Recurrent states of running answers.",
          double(e.slots_used));
  f.gauge("octet:gdn_state_slots_total", "Room for recurrent states.", double(e.slots_total));
  f.gauge("octet:gdn_checkpoint_bytes", "States that the prefix cache keeps.",
          share(e.snapshots_used, e.snapshots_total) * double(snapshot_bytes));
  f.counter("octet:prefix_cache_evictions_total", "Prefixes that were dropped for room.",
            double(e.prefix_evictions));
  f.gauge("octet:load_progress", "Share of the model that is loaded, 0 to 1.", load_progress);
  for (const auto& [key, bytes] : memory)
    f.gauge("octet:device_memory_bytes", "Memory by device and purpose.", double(bytes),
            {{"device", key.first}, {"kind", key.second}});
  f.gauge("octet:spec_depth_current", "Tokens drafted at once.", 0);
  f.histogram("octet:vision_encode_seconds", "Encoding of images.", vision);
  f.histogram("octet:grammar_compile_seconds", "Compiling of grammars.", grammar);
  for (const char* reason : {"refused", "timeout", "status", "size", "other"})
    f.counter("octet:media_fetch_failures_total", "Media that could not be fetched.", 0,
              {{"reason", reason}});
  f.counter("octet:nan_guard_trips_total", "Answers that ended because logits were no numbers.",
            double(nan_trips));
  f.counter("octet:watchdog_stalls_total", "Times that the engine stood still with work to do.",
            double(stalls));
}

void Metrics::Impl::add_http(MetricFamilies& f, const HttpStatus& status) const {
  const auto handler = [](const std::string& name) { return std::pair{"handler", name}; };
  for (const auto& [key, counts] : http)
    for (std::size_t i = 0; i < counts.by_class.size(); ++i)
      if (counts.by_class[i] > 0)
        f.counter("http_requests_total", "Requests by route, method and class of status.",
                  double(counts.by_class[i]),
                  {handler(key.first),
                   {"method", kMethods[key.second]},
                   {"status", i == 0 ? "other" : std::to_string(i) + "xx"}});
  for (const auto& [key, counts] : http)
    f.histogram("http_request_duration_seconds", "From a request to the end of its response.",
                counts.seconds, {handler(key.first), {"method", kMethods[key.second]}});
  for (const auto& [name, s] : sizes)
    f.summary("http_request_size_bytes", "Bytes of requests.", s.request_bytes, s.requests,
              {handler(name)});
  for (const auto& [name, s] : sizes)
    f.summary("http_response_size_bytes", "Bytes of responses.", s.response_bytes, s.requests,
              {handler(name)});
  f.gauge("http_connections", "Open connections.", double(status.connections));
  f.gauge("http_requests_in_progress", "Requests that are not answered yet.",
          double(status.exchanges));
}

std::string Metrics::text(const generate::EngineStatus& engine, const HttpStatus& http,
                          bool open_metrics) const {
  MetricFamilies families;
  {
    const std::lock_guard lock(impl_->mutex);
    families.set_labels({{"model_name", impl_->model_name}, {"engine", "0"}});
    impl_->add_vllm(families, engine);
    impl_->add_vllm_requests(families);
    families.set_labels({});
    impl_->add_llama(families, engine);
    impl_->add_own(families, engine);
    impl_->add_http(families, http);
  }
  add_process_metrics(families);
  return families.text(open_metrics);
}

}  // namespace octet::serve
