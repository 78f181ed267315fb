#include "cli/serve_flags.h"

#include <algorithm>
#include <array>
#include <set>

#include "cli/serve_flag_sources.h"
#include "runtime/base/error.h"

extern char** environ;

namespace octet::cli {

namespace {

// What this build of the server can't do yet. The flags are read and checked all the same.
constexpr bool kServesPictures = false, kServesDrafts = false;

// {"a": {"b": value}}: a value that isn't JSON is a string.
void insert_at(json::object& object, const FlagSetting& s) {
  json::object* at = &object;
  for (std::size_t i = 0; i + 1 < s.path.size(); ++i) {
    json::value& next = (*at)[s.path[i]];
    if (!next.is_object()) next = json::object();
    at = &next.get_object();
  }
  if (s.words.size() != 1)
    fail(ErrorCode::invalid_argument, "{}: expected one value, found {}", s.shown, s.words.size());
  json::value value;
  try {
    value = parse_json(s.words[0], s.shown);
  } catch (const Error&) {
    value = json::string(s.words[0]);
  }
  (*at)[s.path.back()] = std::move(value);
}

// All settings of one flag from one source, as set_flag wants them.
std::vector<std::string> merged_words(const std::vector<const FlagSetting*>& settings) {
  const FlagSetting& last = *settings.back();
  if (last.flag->kind == FlagKind::words || last.flag->kind == FlagKind::commas) {
    std::vector<std::string> words;
    for (const FlagSetting* s : settings)
      words.insert(words.end(), s->words.begin(), s->words.end());
    return words;
  }
  if (last.flag->kind == FlagKind::object) {
    json::object object;
    for (const FlagSetting* s : settings) {
      if (!s->path.empty()) {
        insert_at(object, *s);
        continue;
      }
      ServeFlags whole;
      const ServeFlag into{s->flag->name, FlagKind::object, &ServeFlags::speculative_config};
      set_flag(whole, into, s->words, s->shown);
      object = std::move(whole.speculative_config);
    }
    return {to_json(object)};
  }
  // --enable-prefix-caching beside --prefix-cache says less, and must not say otherwise.
  const FlagSetting *own = nullptr, *translated = nullptr;
  for (const FlagSetting* s : settings) (s->translated ? translated : own) = s;
  if (own && translated &&
      (own->words == std::vector<std::string>{"off"}) !=
          (translated->words == std::vector<std::string>{"off"}))
    fail(ErrorCode::invalid_argument, "{} and {} contradict each other", own->shown,
         translated->shown);
  return (own ? own : &last)->words;
}

// The word of a flag that has no place in ServeFlags, and where it came from.
struct Given {
  std::string word, shown;
};
using GivenFlags = std::map<std::string, Given>;

void note(ServeFlags& flags, const std::string& what, const std::string& why) {
  flags.notes.push_back(fmt::format("accepted, no effect: {} ({})", what, why));
}

// Values that say what is so anyway.
bool is_neutral(const ServeFlag& flag, const std::string& word) {
  const std::string_view name = flag.name;
  return word == "auto" || (flag.kind == FlagKind::number && word == "0") ||
         ((name.ends_with("parallel-size") || name == "api-server-count") && word == "1");
}

void check_compatibility(ServeFlags& flags, const GivenFlags& given) {
  for (const FlagGroup& group : serve_flag_groups())
    for (const ServeFlag& flag : group.flags) {
      const auto it = given.find(flag.name);
      if (it == given.end() || flag.effect == FlagEffect::used) continue;
      const std::string& word = it->second.word;
      const std::string_view name = flag.name;
      const bool is_boolean = flag.kind == FlagKind::boolean;
      if (flag.effect == FlagEffect::refused) {
        const bool harmless = (is_boolean && word == "false") ||
                              (name == "tokenizer" && word == flags.model) ||
                              (name.ends_with("revision") && word == "main");
        if (!harmless)
          fail(ErrorCode::invalid_argument, "{} is not supported: {}", it->second.shown, flag.help);
      } else if (name == "dtype" && (word == "float32" || word == "float")) {
        if (flags.given("activations")) continue;
        flags.compute.activations = "float32";
        flags.origins["activations"] = flags.origins.at("dtype");
      } else if (!is_neutral(flag, word)) {
        const std::string negation = is_boolean && word == "false" ? "no-" : "";
        note(flags, fmt::format("--{}{}{}", negation, name, is_boolean ? "" : " " + word),
             flag.help);
      }
    }
}

void check_engine(ServeFlags& f) {
  if (f.load_format == "dummy")
    f.notes.push_back(
        "warning: --load-format dummy: the weights are random, the answers mean nothing");
  else if (!f.dummy_shape.empty())
    fail(ErrorCode::invalid_argument, "--dummy-shape {}: expected --load-format dummy, too",
         f.dummy_shape);
  std::string& kv = f.compute.kv_cache_dtype;
  if (kv.starts_with("fp8")) {
    f.notes.push_back(fmt::format("--kv-cache-dtype {}: 8 bits are held as int8 here", kv));
    kv = "int8";
  } else if (kv == "half" || kv == "float16") {
    f.notes.push_back(fmt::format("--kv-cache-dtype {}: 16 bits are held as int16 here", kv));
    kv = "int16";
  } else if (kv == "float") {
    kv = "float32";
  }
  if (!f.compute.device.starts_with("cuda")) {
    if (f.tensor_parallel_size > 1)
      note(f, fmt::format("--tensor-parallel-size {}", f.tensor_parallel_size),
           "a CPU is one device");
    if (f.gpu_memory_utilization > 0 && !f.compute.max_memory.empty())
      note(f, fmt::format("--gpu-memory-utilization {}", f.gpu_memory_utilization),
           "--max-memory says it");
  }
  if (const json::value* method = f.speculative_config.if_contains("method")) {
    const auto known = {"mtp", "qwen3_5_mtp", "qwen3_next_mtp", "none"};
    if (!method->is_string() || std::ranges::find(known, method->get_string()) == known.end())
      fail(ErrorCode::invalid_argument, "--speculative-config.method {}: expected mtp or none",
           to_json(*method));
    if (method->get_string() == "none") f.spec = false;
  }
  if (const json::value* tokens = f.speculative_config.if_contains("num_speculative_tokens"))
    if (!tokens->is_int64() || tokens->get_int64() < 0 || tokens->get_int64() > 5)
      fail(ErrorCode::invalid_argument,
           "--speculative-config.num_speculative_tokens {}: expected 0 to 5", to_json(*tokens));
  if (!kServesDrafts && f.spec && f.given("speculative-config"))
    note(f, "--speculative-config", "tokens are not drafted yet; answers would be the same");
}

void check_pictures(ServeFlags& f) {
  for (const auto& [kind, limit] : f.limit_mm_per_prompt) {
    const json::value* count = limit.is_object() ? limit.get_object().if_contains("count") : &limit;
    if (count && (!count->is_int64() || count->get_int64() < 0))
      fail(ErrorCode::invalid_argument, "--limit-mm-per-prompt.{} {}: expected a number of them",
           std::string_view(kind), to_json(*count));
  }
  if (f.image_max_tokens > 0 && f.image_min_tokens > f.image_max_tokens)
    fail(ErrorCode::invalid_argument, "--image-min-tokens {} is above --image-max-tokens {}",
         f.image_min_tokens, f.image_max_tokens);
  if (kServesPictures || f.language_model_only) return;
  for (const char* name :
       {"limit-mm-per-prompt", "mm-processor-kwargs", "media-io-kwargs", "trust-request-mm-kwargs",
        "allow-media-url", "allowed-media-domains", "allowed-local-media-path",
        "mm-processor-cache-gb", "max-image-bytes", "image-min-tokens", "image-max-tokens"})
    if (f.given(name)) note(f, fmt::format("--{}", name), "pictures are not served yet");
}

bool is_loopback(const std::string& host) {
  return host.starts_with("127.") || host == "localhost" || host == "::1";
}

void check_http(ServeFlags& f) {
  if (f.ssl_keyfile.empty() != f.ssl_certfile.empty())
    fail(ErrorCode::invalid_argument, "--ssl-keyfile and --ssl-certfile: expected both or neither");
  if (f.ssl_keyfile.empty() && (!f.ssl_ca_certs.empty() || f.ssl_cert_reqs > 0))
    fail(ErrorCode::invalid_argument, "certificates of clients: expected --ssl-keyfile, too");
  if (f.ssl_cert_reqs > 0 && f.ssl_ca_certs.empty())
    fail(ErrorCode::invalid_argument, "--ssl-cert-reqs {}: expected --ssl-ca-certs, too",
         f.ssl_cert_reqs);
  if (f.allow_credentials && std::ranges::find(f.allowed_origins, "*") != f.allowed_origins.end())
    fail(ErrorCode::invalid_argument,
         "--allow-credentials with --allowed-origins *: any web page could use the server in its "
         "visitor's name; name the origins");
  if (!f.root_path.empty() && !f.root_path.starts_with('/'))
    fail(ErrorCode::invalid_argument, "--root-path {}: expected a path that begins with /",
         f.root_path);
  const bool has_key = !f.api_key.empty() || !f.api_key_file.empty();
  if (f.host.empty()) f.host = has_key ? "0.0.0.0" : "127.0.0.1";
  if (!f.uds.empty()) {
    for (const char* name : {"host", "port"})
      if (f.given(name)) note(f, fmt::format("--{}", name), "--uds is where it listens");
  } else if (!has_key && !is_loopback(f.host)) {
    f.notes.push_back(fmt::format(
        "warning: listening on {} without an API key, whoever reaches it may use it", f.host));
  }
}

void apply(ServeFlags& flags, const FlagSettings& settings,
           const std::set<const ServeFlag*>& overridden, GivenFlags& given) {
  std::vector<std::pair<const ServeFlag*, std::vector<const FlagSetting*>>> groups;
  for (const FlagSetting& s : settings) {
    if (overridden.contains(s.flag)) continue;
    auto it = std::ranges::find(groups, s.flag, [](const auto& g) { return g.first; });
    if (it == groups.end()) it = groups.insert(groups.end(), {s.flag, {}});
    it->second.push_back(&s);
  }
  for (const auto& [flag, group] : groups) {
    const FlagSetting& last = *group.back();
    const auto words = merged_words(group);
    set_flag(flags, *flag, words, last.shown);
    flags.origins[flag->name] = last.origin;
    std::string word = words.empty() ? "" : words.front();
    bool truth = false;
    if (flag->kind == FlagKind::boolean && parse_bool(word, truth)) word = truth ? "true" : "false";
    given[flag->name] = {word, last.shown};
  }
}

}  // namespace

ServeFlags parse_serve_flags(const std::vector<std::string>& arguments,
                             const Environment& environment) {
  ServeFlags flags;
  // Sources from the one that wins on.
  std::array<FlagSettings, 3> sources{settings_of_arguments(arguments), {}, {}};
  for (const FlagSetting& s : sources[0])
    if (s.flag->name == std::string_view("help")) {
      flags.help = true;
      return flags;
    }
  sources[2] = settings_of_environment(environment);
  for (const std::size_t i : {2, 0})
    for (const FlagSetting& s : sources[i])
      if (s.flag->name == std::string_view("config")) sources[1] = settings_of_file(s.words.at(0));

  std::set<const ServeFlag*> overridden;
  GivenFlags given;
  for (const FlagSettings& source : sources) {
    apply(flags, source, overridden, given);
    for (const FlagSetting& s : source) overridden.insert(s.flag);
  }
  if (flags.model.empty())
    fail(ErrorCode::invalid_argument,
         "no MODEL: expected `octet serve MODEL`, before flags that take several words");
  if (flags.served_model_name.empty()) flags.served_model_name = {flags.model};
  flags.has_seed = flags.given("seed");
  const auto allow_long = environment.find("VLLM_ALLOW_LONG_MAX_MODEL_LEN");
  flags.allow_long_max_model_len = allow_long != environment.end() && allow_long->second == "1";
  if (flags.tool_call_parser != "none") flags.tool_call_parser = "qwen3_coder";
  check_compatibility(flags, given);
  check_engine(flags);
  check_pictures(flags);
  check_http(flags);
  return flags;
}

Environment process_environment() {
  Environment variables;
  for (char** v = environ; v && *v; ++v) {
    const std::string entry = *v;
    if (const std::size_t equals = entry.find('='); equals != std::string::npos)
      variables.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return variables;
}

CLI::App* add_serve_subcommand(CLI::App& app) {
  CLI::App* serve = app.add_subcommand("serve", "Answers requests over HTTP, with vLLM's flags");
  // Its words are a language of their own: underscores, dots, lists, a file.
  serve->prefix_command();
  serve->set_help_flag();
  return serve;
}

std::vector<std::string> serve_arguments(const CLI::App& serve) {
  return serve.remaining();
}

}  // namespace octet::cli
