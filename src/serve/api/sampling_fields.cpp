#include "serve/api/sampling_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

constexpr std::size_t kMaxStops = 16, kMaxStopBytes = 1024, kMaxBadWords = 128,
                      kMaxLogitBias = 4096, kMaxStopIds = 1024;
constexpr double kMaxNumber = 1e9;

void read_temperature(FieldReader& body, const RequestContext& context, Job& job) {
  const auto& d = context.defaults;
  double t = body.number("temperature", 0, 2).value_or(d.do_sample ? d.temperature : 0.0);
  // As vLLM has it: near zero is greedy, and what is barely above would overflow.
  if (t < 1e-5)
    t = 0;
  else if (t < 0.01)
    t = 0.01;
  job.sampling.temperature = t;
}

void read_logit_bias(FieldReader& body, const RequestContext& context, Job& job) {
  const json::object* bias = body.object("logit_bias");
  if (!bias) return;
  const std::string path = body.path("logit_bias");
  if (bias->size() > kMaxLogitBias)
    bad_field(path, "{}: expected at most {} entries, found {}", path, kMaxLogitBias, bias->size());
  for (const auto& [key, value] : *bias) {
    std::int64_t id = -1;
    const auto end = key.data() + key.size();
    const auto r = std::from_chars(key.data(), end, id);
    if (r.ec != std::errc() || r.ptr != end || id < 0 || id >= context.vocab_size)
      bad_field(path, "{}: expected token ids from 0 to {} as keys", path, context.vocab_size - 1);
    const double b = value.is_number() ? value.to_number<double>() : std::nan("");
    if (!std::isfinite(b)) bad_field(path, "{}.{}: expected a finite number", path, id);
    job.sampling.logit_bias.emplace_back(static_cast<std::int32_t>(id),
                                         static_cast<float>(std::clamp(b, -100.0, 100.0)));
  }
}

// A word is forbidden at the beginning of a text and inside it, where a blank precedes it.
void read_bad_words(FieldReader& body, const RequestContext& context, Job& job) {
  const auto words = body.strings("bad_words", kMaxBadWords);
  const std::string path = body.path("bad_words");
  std::set<std::vector<std::int32_t>> sequences;
  for (const std::string& word : words) {
    if (word.empty() || word.size() > kMaxStopBytes)
      bad_field(path, "{}: expected words of 1 to {} bytes", path, kMaxStopBytes);
    sequences.insert(context.tokenizer.encode(word, false));
    if (word[0] != ' ') sequences.insert(context.tokenizer.encode(" " + word, false));
  }
  if (sequences.size() > kMaxBadWords)
    bad_field(path, "{}: expected at most {} token sequences, found {}", path, kMaxBadWords,
              sequences.size());
  job.sampling.bad_words.assign(sequences.begin(), sequences.end());
}

void read_stops(FieldReader& body, const RequestContext& context, Job& job) {
  job.stop = body.strings("stop", kMaxStops);
  for (const std::string& s : job.stop)
    if (s.empty() || s.size() > kMaxStopBytes)
      bad_field(body.path("stop"), "{}: expected strings of 1 to {} bytes", body.path("stop"),
                kMaxStopBytes);
  job.stop_token_ids = body.token_ids("stop_token_ids", kMaxStopIds, context.vocab_size);
  job.include_stop = body.boolean("include_stop_str_in_output").value_or(false);
  job.ignore_eos = body.boolean("ignore_eos").value_or(false);
  job.stop_in_reasoning = body.boolean("stop_in_reasoning").value_or(true);
  job.skip_special_tokens = body.boolean("skip_special_tokens").value_or(true);
  body.boolean("spaces_between_special_tokens");
  if (const json::value* detection = body.find("repetition_detection")) {
    FieldReader r(*detection, body.path("repetition_detection"));
    auto& limit = job.repetition;
    limit.max_pattern_size = r.integer("max_pattern_size", 0, 1024).value_or(0);
    limit.min_pattern_size =
        r.integer("min_pattern_size", 0, 1024).value_or(limit.min_pattern_size);
    limit.min_pattern_size = std::max<std::int64_t>(1, limit.min_pattern_size);
    limit.min_count = r.integer("min_count", 2, 1 << 16).value_or(limit.min_count);
    if (limit.max_pattern_size > 0 && limit.min_pattern_size > limit.max_pattern_size)
      bad_field(r.path("min_pattern_size"), "{}: expected at most max_pattern_size ({}), found {}",
                r.path("min_pattern_size"), limit.max_pattern_size, limit.min_pattern_size);
  }
}

void read_scheduling(FieldReader& body, const RequestContext& context, Job& job) {
  const auto& o = context.options;
  job.priority = body.integer("priority").value_or(0);
  if (job.priority != 0 && !o.priority_scheduling)
    bad_field(body.path("priority"),
              "priority: expected 0, found {}; the server was not started with "
              "--scheduling-policy priority",
              job.priority);
  if (auto salt = body.string("cache_salt")) {
    if (salt->empty() || salt->size() > 128)
      bad_field(body.path("cache_salt"), "cache_salt: expected 1 to 128 bytes, found {}",
                salt->size());
    job.cache_salt = std::move(*salt);
  }
  job.use_prefix_cache = body.boolean("cache_prompt").value_or(true);
  job.stream_interval = body.integer("stream_interval", 1, 1 << 20).value_or(o.stream_interval);
  if (const auto keep = body.integer("truncate_prompt_tokens", -1)) {
    if (*keep == 0)
      bad_field(body.path("truncate_prompt_tokens"),
                "truncate_prompt_tokens: expected -1 or at least 1, found 0");
    job.truncate_prompt_tokens = *keep;
  }
  job.truncate_left = body.one_of("truncation_side", {"left", "right"}).value_or("left") == "left";
}

}  // namespace

void read_sampling(FieldReader& body, const RequestContext& context, Job& job) {
  const auto& d = context.defaults;
  auto& s = job.sampling;
  read_temperature(body, context, job);
  s.top_p = body.number("top_p", 0, 1).value_or(d.top_p);
  if (!(s.top_p > 0))
    bad_field(body.path("top_p"), "top_p: expected a number above 0 and up to 1, found {}",
              s.top_p);
  s.top_k = std::max<std::int64_t>(0, body.integer("top_k", -1).value_or(d.top_k));
  s.min_p = body.number("min_p", 0, 1).value_or(d.min_p);
  s.frequency_penalty = body.number("frequency_penalty", -2, 2).value_or(0);
  s.presence_penalty = body.number("presence_penalty", -2, 2).value_or(0);
  s.repetition_penalty =
      body.number("repetition_penalty", 0, kMaxNumber).value_or(d.repetition_penalty);
  if (!(s.repetition_penalty > 0))
    bad_field(body.path("repetition_penalty"),
              "repetition_penalty: expected a number above 0, found {}", s.repetition_penalty);
  if (const auto seed = body.integer("seed"); seed && *seed != -1) {
    s.seed = static_cast<std::uint64_t>(*seed);
    job.has_seed = true;
  }
  job.n = body.integer("n", 1, context.max_sequences).value_or(1);
  if (const auto best_of = body.integer("best_of", 1); best_of && *best_of > job.n)
    bad_field(body.path("best_of"), "best_of: expected at most n ({}), found {}", job.n, *best_of);
  read_logit_bias(body, context, job);
  if (body.has("allowed_token_ids")) {
    s.allowed_token_ids = body.token_ids(
        "allowed_token_ids", static_cast<std::size_t>(context.vocab_size), context.vocab_size);
    if (s.allowed_token_ids.empty())
      bad_field(body.path("allowed_token_ids"), "allowed_token_ids: expected at least one id");
  }
  read_bad_words(body, context, job);
  read_stops(body, context, job);
  // max_tokens was read before.
  s.min_tokens = body.integer("min_tokens", 0).value_or(0);
  if (job.max_tokens && s.min_tokens > *job.max_tokens)
    bad_field(body.path("min_tokens"), "min_tokens: expected at most max_tokens ({}), found {}",
              *job.max_tokens, s.min_tokens);
  read_scheduling(body, context, job);
}

void read_unsupported(FieldReader& body) {
  if (body.boolean("use_beam_search").value_or(false))
    throw HttpError(501, "use_beam_search: beam search is not supported", "use_beam_search");
  body.number("length_penalty", -kMaxNumber, kMaxNumber);
  for (const char* name : {"prompt_embeds", "suffix"}) {
    const json::value* v = body.find(name);
    if (v && !(v->is_string() && v->get_string().empty()))
      throw HttpError(501, fmt::format("{}: not supported by this server", name), name);
  }
  body.ignore({"user", "metadata", "store", "service_tier", "prediction", "modalities", "verbosity",
               "web_search_options", "prompt_cache_key", "prompt_cache_retention",
               "safety_identifier", "session_id", "kv_transfer_params", "vllm_xargs", "id_slot",
               "early_stopping"});
}

int read_num_logprobs(FieldReader& body, std::string_view name, const RequestContext& context,
                      int absent) {
  const std::int64_t limit = context.options.max_logprobs;
  const auto asked = body.integer(name, -1, context.vocab_size);
  if (!asked) return absent;
  if (limit >= 0 && (*asked < 0 || *asked > limit))
    bad_field(body.path(name), "{}: expected an integer from 0 to {} (--max-logprobs), found {}",
              body.path(name), limit, *asked);
  return *asked < 0 ? -2 : static_cast<int>(*asked);
}

int read_prompt_logprobs(FieldReader& body, const RequestContext& context, bool stream) {
  const int asked = read_num_logprobs(body, "prompt_logprobs", context, -1);
  if (asked != -1 && stream)
    bad_field(body.path("prompt_logprobs"), "prompt_logprobs: not available together with stream");
  return asked == -2 ? static_cast<int>(context.vocab_size) : asked;
}

void read_logprob_token_ids(FieldReader& body, const RequestContext& context, Job& job) {
  if (!body.has("logprob_token_ids")) return;
  job.sampling.logprob_token_ids = body.token_ids("logprob_token_ids", 128, context.vocab_size);
  const std::string path = body.path("logprob_token_ids");
  if (job.sampling.logprob_token_ids.empty()) bad_field(path, "{}: expected 1 to 128 ids", path);
  if (job.sampling.num_logprobs == -1) bad_field(path, "{}: needs logprobs", path);
}

}  // namespace octet::serve
