#include "runtime/base/flat_yaml.h"

#include <algorithm>
#include <unordered_set>

#include "runtime/base/error.h"
#include "runtime/base/json.h"

namespace octet {

namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && is_blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && (is_blank(s.back()) || s.back() == '\r')) s.remove_suffix(1);
  return s;
}

// Where a scalar stands, for messages.
struct Place {
  std::string_view where;
  std::size_t line;
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorCode::bad_data, "{}, line {}: {}", where, line, what);
  }
};

// Takes one scalar off the front of `rest`. In a list it ends at a comma or bracket.
std::string take_scalar(std::string_view& rest, bool in_list, const Place& place) {
  if (rest.starts_with('\'')) {
    std::string out;
    for (std::size_t i = 1; i < rest.size(); ++i) {
      if (rest[i] != '\'') {
        out += rest[i];
      } else if (i + 1 < rest.size() && rest[i + 1] == '\'') {
        out += rest[i++];
      } else {
        rest.remove_prefix(i + 1);
        return out;
      }
    }
    place.refuse("a quote ' is not closed");
  }
  if (rest.starts_with('"')) {
    std::size_t i = 1;
    while (i < rest.size() && rest[i] != '"') i += rest[i] == '\\' ? 2 : 1;
    if (i >= rest.size()) place.refuse("a quote \" is not closed");
    const json::value value =
        parse_json(rest.substr(0, i + 1), fmt::format("{}, line {}", place.where, place.line));
    rest.remove_prefix(i + 1);
    return std::string(value.as_string());
  }
  std::size_t end = 0;
  while (end < rest.size() && !(in_list && (rest[end] == ',' || rest[end] == ']')) &&
         !(rest[end] == '#' && end > 0 && is_blank(rest[end - 1])))
    ++end;
  const std::string_view plain = trimmed(rest.substr(0, end));
  if (!plain.empty() && std::string_view("&*!|>%@`").find(plain.front()) != std::string_view::npos)
    place.refuse(fmt::format("a value that begins with {} must stand in quotes", plain.front()));
  if (!in_list && (plain.find(": ") != std::string_view::npos || plain.ends_with(':')))
    place.refuse("a value with a colon must stand in quotes; maps are written as inline JSON");
  rest.remove_prefix(end);
  return std::string(plain);
}

void require_end(std::string_view rest, const Place& place) {
  rest = trimmed(rest);
  if (!rest.empty() && rest.front() != '#')
    place.refuse(fmt::format("expected the end of the line, found `{}`", rest.substr(0, 20)));
}

std::vector<std::string> take_list(std::string_view rest, const Place& place) {
  std::vector<std::string> items;
  rest.remove_prefix(1);
  while (true) {
    rest = trimmed(rest);
    if (rest.starts_with(']')) break;
    if (rest.starts_with('[') || rest.starts_with('{')) place.refuse("a list in a list");
    const bool quoted = rest.starts_with('\'') || rest.starts_with('"');
    items.push_back(take_scalar(rest, true, place));
    if (items.back().empty() && !quoted) place.refuse("an empty item of a list");
    rest = trimmed(rest);
    if (rest.starts_with(','))
      rest.remove_prefix(1);
    else if (!rest.starts_with(']'))
      place.refuse("a list [ is not closed on its line");
  }
  require_end(rest.substr(1), place);
  return items;
}

bool is_key(std::string_view key) {
  return !key.empty() && std::ranges::all_of(key, [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-' || c == '.';
  });
}

}  // namespace

std::vector<FlatYamlEntry> parse_flat_yaml(std::string_view text, std::string_view where) {
  std::vector<FlatYamlEntry> entries;
  std::unordered_set<std::string> keys;
  bool wants_items = false;  // the last key had no value on its line
  Place place{where, 0};
  const auto end_of_key = [&] {
    if (wants_items && entries.back().values.empty())
      fail(ErrorCode::bad_data, "{}, line {}: `{}` has no value", where, entries.back().line,
           entries.back().key);
  };
  while (!text.empty()) {
    ++place.line;
    const std::size_t newline = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(std::min(newline + 1, text.size()));
    std::string_view rest = trimmed(line);
    if (rest.empty() || rest.front() == '#' || (rest == "---" && entries.empty())) continue;
    if (rest == "-" || rest.starts_with("- ")) {
      if (!wants_items) place.refuse("an item without a key above it");
      rest = trimmed(rest.substr(1));
      if (rest.starts_with('[') || rest.starts_with('{')) place.refuse("a list in a list");
      const bool quoted = rest.starts_with('\'') || rest.starts_with('"');
      std::string item = take_scalar(rest, false, place);
      if (item.empty() && !quoted) place.refuse("an empty item of a list");
      require_end(rest, place);
      entries.back().values.push_back(std::move(item));
      entries.back().is_list = true;
      continue;
    }
    if (is_blank(line.front()))
      place.refuse("expected `key: value` at the margin; maps are written as inline JSON");
    const std::size_t colon = rest.find(':');
    if (colon == std::string_view::npos || !is_key(trimmed(rest.substr(0, colon))) ||
        (colon + 1 < rest.size() && !is_blank(rest[colon + 1])))
      place.refuse("expected `key: value`");
    end_of_key();
    FlatYamlEntry entry{.key = std::string(trimmed(rest.substr(0, colon))), .line = place.line};
    if (!keys.insert(entry.key).second)
      place.refuse(fmt::format("`{}` is given a second time", entry.key));
    rest = trimmed(rest.substr(colon + 1));
    wants_items = rest.empty() || rest.front() == '#';
    if (rest.starts_with('{')) {
      entry.values = {std::string(rest)};
    } else if (rest.starts_with('[')) {
      entry.values = take_list(rest, place);
      entry.is_list = true;
    } else if (!wants_items) {
      const bool quoted = rest.front() == '\'' || rest.front() == '"';
      entry.values = {take_scalar(rest, false, place)};
      require_end(rest, place);
      if (!quoted && (entry.values[0] == "null" || entry.values[0] == "~")) continue;
    }
    entries.push_back(std::move(entry));
  }
  end_of_key();
  return entries;
}

std::string flat_yaml_scalar(std::string_view text) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("_-./*+~@=").find(static_cast<char>(c)) != std::string_view::npos;
  };
  const bool is_plain = !text.empty() && std::ranges::all_of(text, plain) &&
                        std::string_view("*@~-").find(text.front()) == std::string_view::npos &&
                        text != "null";
  // A number may begin with its sign.
  const bool number = text.size() > 1 && text.front() == '-' &&
                      std::ranges::all_of(text.substr(1), [](unsigned char c) {
                        return std::isdigit(c) || c == '.';
                      });
  return is_plain || number ? std::string(text) : to_json(json::string(text));
}

}  // namespace octet
