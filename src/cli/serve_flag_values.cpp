#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/serve_flag_table.h"
#include "cli/suggestion.h"
#include "runtime/base/error.h"
#include "runtime/base/flat_yaml.h"

namespace octet::cli {

using F = ServeFlags;
using C = ComputeOptions;

namespace {

[[noreturn]] void refuse(const std::string& shown, const std::string& word,
                         const std::string& expected) {
  fail(ErrorCode::invalid_argument, "{}: expected {}, found `{}`", shown, expected, word);
}

std::string range_of(const ServeFlag& flag) {
  const auto number = [](double x) {
    return x == std::floor(x) && std::fabs(x) < 9e15 ? fmt::format("{:.0f}", x)
                                                     : fmt::format("{}", x);
  };
  if (flag.most >= 9e15)
    return flag.least <= -9e15 ? "" : fmt::format(", {} or more", number(flag.least));
  return fmt::format(", {} to {}", number(flag.least), number(flag.most));
}

bool read_number(std::string_view word, double& value) {
  if (word.starts_with('+')) word.remove_prefix(1);
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc() && end == word.data() + word.size() && std::isfinite(value);
}

// 262144, 25.6k, 256K, 8G, 64MiB. A small letter is a power of 1000, a capital one of 1024, as in
// vLLM; KB is 1000 and KiB 1024.
bool read_count(const std::string& word, double& value) {
  const std::size_t digits = std::min(word.find_first_not_of("0123456789."), word.size());
  const std::string unit = word.substr(digits);
  if (!read_number(std::string_view(word).substr(0, digits), value)) return false;
  double base = 1000;
  std::size_t power = 0;
  if (!unit.empty()) {
    const std::size_t at = std::string_view("kmgt").find(
        static_cast<char>(std::tolower(static_cast<unsigned char>(unit[0]))));
    if (at == std::string_view::npos) return false;
    power = at + 1;
    const bool capital = std::isupper(static_cast<unsigned char>(unit[0])) != 0;
    const std::string rest = unit.substr(1);
    if (rest == "iB" || rest == "ib" || (rest.empty() && capital))
      base = 1024;
    else if (!rest.empty() && rest != "B" && rest != "b")
      return false;
  }
  value *= std::pow(base, static_cast<double>(power));
  return value < 9e15 && value == std::floor(value);
}

double numeric(const ServeFlag& flag, const std::string& word, const std::string& shown) {
  double value = 0;
  if (flag.kind == FlagKind::context && (word == "auto" || word == "-1")) return -1;
  const bool is_count = flag.kind == FlagKind::count || flag.kind == FlagKind::context;
  bool good = is_count ? read_count(word, value) : read_number(word, value);
  if (flag.kind == FlagKind::integer) good = good && value == std::floor(value);
  if (!good || value < flag.least || value > flag.most)
    refuse(shown, word,
           (is_count                         ? "a number such as 4096, 256k or 8G"
            : flag.kind == FlagKind::integer ? "a whole number"
                                             : "a number") +
               range_of(flag) + (flag.kind == FlagKind::context ? ", or auto" : ""));
  return value;
}

std::vector<std::string> split_commas(const std::string& word) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= word.size();) {
    const std::size_t end = std::min(word.find(',', begin), word.size());
    if (end > begin) out.push_back(word.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// Several words, or one that is a JSON array of strings.
std::vector<std::string> read_words(const ServeFlag& flag, const std::vector<std::string>& words,
                                    const std::string& shown) {
  std::vector<std::string> out;
  for (const std::string& word : words) {
    if (flag.kind == FlagKind::commas) {
      for (std::string& part : split_commas(word)) out.push_back(std::move(part));
    } else if (word.starts_with('[')) {
      json::value value;
      try {
        value = parse_json(word, shown);
      } catch (const Error& e) {
        fail(ErrorCode::invalid_argument, "{}", e.what());
      }
      for (const json::value& item : value.as_array()) {
        if (!item.is_string()) refuse(shown, word, "a JSON array of strings");
        out.emplace_back(item.get_string());
      }
    } else {
      out.push_back(word);
    }
  }
  for (const std::string& word : out)
    if (word.empty()) refuse(shown, word, "no empty words");
  return out;
}

json::object read_object(const std::string& word, const std::string& shown) {
  try {
    json::value value = parse_json(word, shown);
    if (value.is_object()) return std::move(value.get_object());
  } catch (const Error& e) {
    fail(ErrorCode::invalid_argument, "{}", e.what());
  }
  refuse(shown, word, "a JSON object");
}

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

std::vector<std::string> flag_choices(const ServeFlag& flag) {
  std::string list = flag.value;
  std::ranges::replace(list, '|', ',');
  return split_commas(list);
}

bool parse_bool(const std::string& word, bool& value) {
  std::string low = word;
  std::ranges::transform(low, low.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* yes : {"true", "1", "yes", "on"})
    if (low == yes) return value = true, true;
  for (const char* no : {"false", "0", "no", "off"})
    if (low == no) return value = false, true;
  return false;
}

void set_flag(ServeFlags& flags, const ServeFlag& flag, const std::vector<std::string>& words,
              const std::string& shown) {
  const bool several = flag.kind == FlagKind::words || flag.kind == FlagKind::commas;
  if (words.empty() && !several) fail(ErrorCode::invalid_argument, "{}: expected a value", shown);
  if (!several && words.size() > 1)
    fail(ErrorCode::invalid_argument, "{}: expected one value, found {}", shown, words.size());
  const std::string word = words.empty() ? "" : words.back();
  bool truth = false;
  double number = 0;
  std::vector<std::string> list;
  json::object object;
  switch (flag.kind) {
    case FlagKind::boolean:
      if (!parse_bool(word, truth)) refuse(shown, word, "true or false");
      break;
    case FlagKind::integer:
    case FlagKind::count:
    case FlagKind::context:
    case FlagKind::number:
      number = numeric(flag, word, shown);
      break;
    case FlagKind::choice: {
      const auto choices = flag_choices(flag);
      if (std::ranges::find(choices, word) == choices.end())
        fail(ErrorCode::invalid_argument, "{}: expected {}, found `{}`{}", shown,
             fmt::join(choices, ", "), word, suggestion(word, choices));
      break;
    }
    case FlagKind::words:
    case FlagKind::commas:
      list = read_words(flag, words, shown);
      break;
    case FlagKind::object:
      object = read_object(word, shown);
      break;
    case FlagKind::text:
      if (word.find('\0') != std::string::npos) refuse(shown, word, "text without zero bytes");
      break;
  }
  std::visit(Overloaded{[](std::monostate) {}, [&](bool F::* p) { flags.*p = truth; },
                        [&](std::int64_t F::* p) { flags.*p = static_cast<std::int64_t>(number); },
                        [&](double F::* p) { flags.*p = number; },
                        [&](std::string F::* p) { flags.*p = word; },
                        [&](std::vector<std::string> F::* p) { flags.*p = list; },
                        [&](json::object F::* p) { flags.*p = object; },
                        [&](std::string C::* p) { flags.compute.*p = word; },
                        [&](int C::* p) { flags.compute.*p = static_cast<int>(number); },
                        [&](json::object C::* p) { flags.compute.*p = object; }},
             flag.target);
}

std::string flag_value(const ServeFlags& flags, const ServeFlag& flag) {
  const auto number = [](double x) {
    return x == std::floor(x) && std::fabs(x) < 9e15 ? fmt::format("{:.0f}", x)
                                                     : fmt::format("{}", x);
  };
  const auto list = [](const std::vector<std::string>& words) {
    json::array array;
    for (const std::string& word : words) array.emplace_back(word);
    return to_json(array);
  };
  // Single quotes, so that JSON stays readable.
  const auto object = [](const json::object& value) {
    std::string text = to_json(value), quoted = "'";
    for (const char c : text) quoted += c == '\'' ? std::string("''") : std::string(1, c);
    return quoted + "'";
  };
  return std::visit(
      Overloaded{[](std::monostate) { return std::string(); },
                 [&](bool F::* p) { return std::string(flags.*p ? "true" : "false"); },
                 [&](std::int64_t F::* p) { return std::to_string(flags.*p); },
                 [&](double F::* p) { return number(flags.*p); },
                 [&](std::string F::* p) { return flat_yaml_scalar(flags.*p); },
                 [&](std::vector<std::string> F::* p) { return list(flags.*p); },
                 [&](json::object F::* p) { return object(flags.*p); },
                 [&](std::string C::* p) { return flat_yaml_scalar(flags.compute.*p); },
                 [&](int C::* p) { return std::to_string(flags.compute.*p); },
                 [&](json::object C::* p) { return object(flags.compute.*p); }},
      flag.target);
}

}  // namespace octet::cli
