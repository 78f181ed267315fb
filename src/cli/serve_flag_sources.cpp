#include "cli/serve_flag_sources.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "cli/suggestion.h"
#include "runtime/base/error.h"
#include "runtime/base/flat_yaml.h"
#include "runtime/base/text_file.h"

namespace octet::cli {

namespace {

constexpr std::size_t kMaxPath = 32, kMaxFile = 16 << 20;

// What llama-server and SGLang call it.
const std::pair<const char*, const char*> kOtherServers[] = {
    {"m", "MODEL"},
    {"hf", "MODEL"},
    {"hf-repo", "MODEL"},
    {"model-path", "MODEL"},
    {"c", "--max-model-len"},
    {"ctx-size", "--max-model-len"},
    {"context-length", "--max-model-len"},
    {"mem-fraction-static", "--gpu-memory-utilization"},
    {"tp-size", "--tensor-parallel-size"},
    {"tp", "--tensor-parallel-size"},
    {"np", "--max-num-seqs"},
    {"parallel", "--max-num-seqs"},
    {"max-running-requests", "--max-num-seqs"},
    {"b", "--max-num-batched-tokens"},
    {"batch-size", "--max-num-batched-tokens"},
    {"ub", "--max-num-batched-tokens"},
    {"ubatch-size", "--max-num-batched-tokens"},
    {"chunked-prefill-size", "--max-num-batched-tokens"},
    {"ctk", "--kv-cache-dtype"},
    {"ctv", "--kv-cache-dtype"},
    {"cache-type-k", "--kv-cache-dtype"},
    {"cache-type-v", "--kv-cache-dtype"},
    {"ctx-checkpoints", "--snapshot-slots"},
    {"checkpoint-min-step", "--snapshot-interval"},
    {"disable-radix-cache", "--prefix-cache off"},
    {"no-cache-prompt", "--prefix-cache off"},
    {"speculative-algorithm", "--speculative-config"},
    {"speculative-num-steps", "--speculative-config.num_speculative_tokens"},
    {"spec-type", "--speculative-config.method"},
    {"spec-draft-n-max", "--speculative-config.num_speculative_tokens"},
    {"draft-max", "--speculative-config.num_speculative_tokens"},
    {"chat-template-kwargs", "--default-chat-template-kwargs"},
    {"chat-template-file", "--chat-template"},
    {"reasoning", "--default-chat-template-kwargs.enable_thinking"},
    {"reasoning-format", "--reasoning-field"},
    {"a", "--served-model-name"},
    {"alias", "--served-model-name"},
    {"t", "--threads"},
    {"media-path", "--allowed-local-media-path"},
    {"log-requests", "--enable-log-requests"},
    {"timeout", "--queue-timeout"},
};

[[noreturn]] void unknown_flag(const std::string& where, const std::string& shown,
                               const std::string& name) {
  for (const auto& [theirs, ours] : kOtherServers)
    if (name == theirs)
      fail(ErrorCode::invalid_argument, "{}unknown flag `{}`; here it is `{}`", where, shown, ours);
  const char* dashes = shown.starts_with("--") ? "--" : "";
  std::vector<std::string> names;
  for (const FlagGroup& group : serve_flag_groups())
    for (const ServeFlag& flag : group.flags)
      if (flag.effect != FlagEffect::refused)
        names.push_back(fmt::format("{}{}", dashes, flag.name));
  fail(ErrorCode::invalid_argument, "{}unknown flag `{}`{}", where, shown,
       suggestion(fmt::format("{}{}", dashes, name), names));
}

struct Found {
  const ServeFlag* flag = nullptr;
  std::vector<std::string> path;
  bool negated = false;
};

// NAME, no-NAME, NAME.key.key; underscores of NAME are dashes.
Found find_name(const std::string& text, const std::string& where, const std::string& shown) {
  Found found;
  std::string name = text.substr(0, text.find('.'));
  std::ranges::replace(name, '_', '-');
  found.flag = find_serve_flag(name);
  if (!found.flag && name.starts_with("no-")) {
    found.flag = find_serve_flag(name.substr(3));
    found.negated = true;
    if (found.flag && found.flag->kind != FlagKind::boolean) found.flag = nullptr;
  }
  if (!found.flag) unknown_flag(where, shown, name);
  for (std::size_t dot = text.find('.'); dot != std::string::npos;) {
    const std::size_t next = text.find('.', dot + 1);
    found.path.push_back(
        text.substr(dot + 1, next == std::string::npos ? std::string::npos : next - dot - 1));
    dot = next;
  }
  if (!found.path.empty() && found.flag->kind != FlagKind::object)
    fail(ErrorCode::invalid_argument, "{}`{}`: --{} takes no keys", where, shown, found.flag->name);
  if (found.path.size() > kMaxPath || std::ranges::find(found.path, "") != found.path.end())
    fail(ErrorCode::invalid_argument, "{}`{}`: expected at most {} keys, none empty", where, shown,
         kMaxPath);
  return found;
}

void add(FlagSettings& settings, const Found& found, std::vector<std::string> words,
         const std::string& shown, const std::string& origin) {
  const ServeFlag* flag = found.flag;
  bool translated = false;
  if (found.negated || flag->name == std::string_view("enable-prefix-caching")) {
    bool truth = false;
    if (words.size() != 1 || !parse_bool(words[0], truth))
      fail(ErrorCode::invalid_argument, "{}: expected true or false", shown);
    truth = truth != found.negated;
    words = {truth ? "true" : "false"};
    if (flag->name == std::string_view("enable-prefix-caching")) {
      flag = find_serve_flag("prefix-cache");
      words = {truth ? "on" : "off"};
      translated = true;
    }
  }
  settings.push_back({flag, found.path, std::move(words), shown, origin, translated});
}

// A value may begin with a dash, as -1 does, but not with two.
bool is_value(const std::string& word) {
  return !word.starts_with("--");
}

}  // namespace

FlagSettings settings_of_arguments(const std::vector<std::string>& arguments) {
  FlagSettings settings;
  const std::string origin = "command line";
  const ServeFlag* model = find_serve_flag("model");
  const auto positional = [&](const std::string& word) {
    for (const FlagSetting& s : settings)
      if (s.flag == model)
        fail(ErrorCode::invalid_argument, "unexpected `{}`: MODEL is `{}`", word, s.words[0]);
    settings.push_back({model, {}, {word}, "MODEL", origin});
  };
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--") {
      while (++i < arguments.size()) positional(arguments[i]);
      break;
    }
    if (!word.starts_with('-') || word == "-") {
      positional(word);
      continue;
    }
    const std::size_t equals = word.find('=');
    const std::string shown = word.substr(0, equals);
    Found found;
    if (word.starts_with("--"))
      found = find_name(shown.substr(2), "", shown);
    else if (shown.starts_with("-O"))
      found.flag = find_short_flag("-O");
    else
      found.flag = find_short_flag(shown);
    if (!found.flag) unknown_flag("", shown, shown.substr(1));
    std::vector<std::string> words;
    const FlagKind kind = found.flag->kind;
    const bool several = kind == FlagKind::words;
    if (equals != std::string::npos) {
      words.push_back(word.substr(equals + 1));
    } else if (shown.starts_with("-O") && shown.size() > 2) {
      words.push_back(shown.substr(2));
    } else if (kind == FlagKind::boolean) {
      words.push_back("true");
    } else {
      while (i + 1 < arguments.size() && is_value(arguments[i + 1]) &&
             (words.empty() || (several && !arguments[i + 1].starts_with('-'))))
        words.push_back(arguments[++i]);
      if (words.empty()) fail(ErrorCode::invalid_argument, "{}: expected a value", shown);
    }
    add(settings, found, std::move(words), shown, origin);
  }
  return settings;
}

FlagSettings settings_of_file(const std::string& path) {
  FlagSettings settings;
  try {
    for (FlatYamlEntry& entry : parse_flat_yaml(read_text_file(path, kMaxFile), path)) {
      const std::string origin = fmt::format("{}:{}", path, entry.line);
      const Found found = find_name(entry.key, origin + ": ", entry.key);
      if (found.flag->name == std::string_view("config"))
        fail(ErrorCode::invalid_argument, "{}: a file can't name another", origin);
      add(settings, found, std::move(entry.values), origin + ": " + entry.key, origin);
    }
  } catch (const Error& e) {
    // A bad command line, not a bad model.
    fail(ErrorCode::invalid_argument, "--config: {}", e.what());
  }
  return settings;
}

FlagSettings settings_of_environment(const Environment& environment) {
  FlagSettings settings;
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with("OCTET_") || value.empty()) continue;
    std::string name = variable.substr(6);
    std::ranges::transform(name, name.begin(),
                           [](unsigned char c) { return c == '_' ? '-' : std::tolower(c); });
    const bool negated = name.starts_with("no-");
    const ServeFlag* flag = find_serve_flag(negated ? name.substr(3) : name);
    // Other parts of the program have variables, too.
    if (!flag || (negated && flag->kind != FlagKind::boolean) ||
        flag->name == std::string_view("help"))
      continue;
    const std::string shown = fmt::format("${}", variable);
    add(settings, {flag, {}, negated}, {value}, shown, shown);
  }
  const auto key = environment.find("VLLM_API_KEY");
  if (key != environment.end() && !key->second.empty() && !environment.contains("OCTET_API_KEY"))
    settings.push_back(
        {find_serve_flag("api-key"), {}, {key->second}, "$VLLM_API_KEY", "$VLLM_API_KEY"});
  return settings;
}

}  // namespace octet::cli
