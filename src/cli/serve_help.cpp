#include <fmt/ranges.h>

#include <algorithm>

#include "cli/serve_flag_table.h"

namespace octet::cli {

namespace {

bool is_used(const FlagGroup& group) {
  return group.flags.front().effect == FlagEffect::used;
}

// What an absent flag means.
std::string default_of(const ServeFlag& flag) {
  static const ServeFlags defaults;
  if (flag.shown_default) return flag.shown_default;
  const std::string value = flag_value(defaults, flag);
  if (flag.kind == FlagKind::boolean) return value == "true" ? "on" : "off";
  if (value == "\"\"" || value == "[]" || value == "'{}'") return "";
  return value;
}

// Words of `text` in lines of at most `width`, each behind `indent` spaces but the first.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
  std::string out;
  std::size_t column = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (column > 0 && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = 0;
    }
    if (column > 0) out += " ", ++column;
    out += word;
    column += word.size();
    begin = end + 1;
  }
  return out;
}

std::string names_of(const ServeFlag& flag) {
  std::string name = flag.short_name ? fmt::format("{}, --{}", flag.short_name, flag.name)
                                     : fmt::format("--{}", flag.name);
  if (flag.kind != FlagKind::boolean) name += fmt::format(" {}", flag.value);
  return name;
}

}  // namespace

std::string serve_help() {
  constexpr std::size_t kColumn = 34, kWidth = 66;
  std::string out =
      "Answers requests over HTTP: OpenAI's, Anthropic's and vLLM's interfaces.\n"
      "Usage: octet serve MODEL [flags]\n\n"
      "Flags also as --flag=value, with _ for -, on/off ones as --no-flag, JSON as "
      "--flag.key value,\n"
      "from --config FILE, or from $OCTET_FLAG; the first of these wins.\n";
  for (const FlagGroup& group : serve_flag_groups()) {
    out += fmt::format("\n{}:\n", group.title);
    if (!is_used(group)) {
      std::string list;
      for (const ServeFlag& flag : group.flags)
        list += fmt::format("{}--{}", list.empty() ? "" : ", ", flag.name);
      out += "  " + wrapped(list, 2, kColumn + kWidth - 2) + "\n";
      continue;
    }
    for (const ServeFlag& flag : group.flags) {
      const std::string name = fmt::format("  {}", names_of(flag));
      std::string text = flag.help;
      if (const std::string value = default_of(flag);
          !value.empty() && !(flag.kind == FlagKind::boolean && value == "off"))
        text += fmt::format(" [{}]", value);
      out += name;
      out += name.size() + 2 > kColumn ? "\n" + std::string(kColumn, ' ')
                                       : std::string(kColumn - name.size(), ' ');
      out += wrapped(text, kColumn, kWidth) + "\n";
    }
  }
  return out;
}

std::string describe(const ServeFlags& flags) {
  std::string out;
  for (const FlagGroup& group : serve_flag_groups()) {
    if (!is_used(group) || group.title == std::string_view("Command line")) continue;
    out += fmt::format("{}# {}\n", out.empty() ? "" : "\n", group.title);
    for (const ServeFlag& flag : group.flags) {
      std::string value = flag_value(flags, flag);
      if (value.empty()) continue;
      const auto it = flags.origins.find(flag.name);
      const std::string origin = it == flags.origins.end() ? "default" : it->second;
      std::string line;
      if (flag.name == std::string_view("api-key") && !flags.api_key.empty())
        line = fmt::format("# api-key: {} not shown", flags.api_key.size());
      else if (origin == "default" && flag.shown_default &&
               (value == "0" || value == "\"\"" || value == "[]"))
        line = fmt::format("# {}: {}", flag.name, flag.shown_default);
      else
        line = fmt::format("{}: {}", flag.name, value);
      out += fmt::format("{:<50}  # {}\n", line, origin);
    }
  }
  return out;
}

std::string serve_flags_markdown() {
  const auto cell = [](std::string text) {
    for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
      text.insert(at, "\\");
    return text;
  };
  std::string out;
  for (const FlagGroup& group : serve_flag_groups()) {
    const bool used = is_used(group);
    out += fmt::format("### {}\n\n", group.title);
    out += used ? "| flag | default | meaning |\n| --- | --- | --- |\n"
                : "| flag | why |\n| --- | --- |\n";
    for (const ServeFlag& flag : group.flags)
      out += used ? fmt::format("| `{}` | {} | {} |\n", cell(names_of(flag)),
                                cell(default_of(flag)), cell(flag.help))
                  : fmt::format("| `--{}` | {} |\n", flag.name, cell(flag.help));
    out += "\n";
  }
  return out;
}

}  // namespace octet::cli
