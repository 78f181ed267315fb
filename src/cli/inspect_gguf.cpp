#include "cli/inspect_gguf.h"

#include <fmt/format.h>

#include <cstdio>
#include <map>

#include "checkpoint/gguf_format.h"
#include "runtime/base/json.h"
#include "runtime/base/progress.h"

namespace octet::cli {

namespace {

struct TypeSum {
  std::int64_t tensors = 0;
  std::uint64_t bytes = 0;
};

// A value as JSON; of a list its length, as a vocabulary would fill the screen.
template <typename T>
json::value show(const T& x) {
  return json::value(x);
}
template <typename T>
json::value show(const std::vector<T>& list) {
  return {{"elements", list.size()}};
}

}  // namespace

void inspect_gguf(const std::string& path, bool as_json) {
  const checkpoint::GgufFile file(path);
  std::map<std::string, TypeSum> types;
  for (const auto& t : file.tensors()) {
    TypeSum& sum = types[to_string(t.type)];
    ++sum.tensors;
    sum.bytes += t.bytes.size();
  }
  json::object metadata;
  for (const auto& [key, value] : file.metadata())
    metadata[key] = std::visit([](const auto& x) { return show(x); }, value);
  if (as_json) {
    json::object by_type;
    for (const auto& [type, sum] : types)
      by_type[type] = {{"tensors", sum.tensors}, {"bytes", sum.bytes}};
    fmt::print("{}\n", to_json(json::object{{"format", "gguf"},
                                            {"bytes", file.file().bytes().size()},
                                            {"tensors", file.tensors().size()},
                                            {"types", std::move(by_type)},
                                            {"metadata", std::move(metadata)}}));
    return;
  }
  fmt::print("{}: GGUF, {}, {} tensors\n", path,
             format_bytes(static_cast<double>(file.file().bytes().size())), file.tensors().size());
  for (const auto& [type, sum] : types)
    fmt::print("  {:<8}{:>6} tensors{:>12}\n", type, sum.tensors,
               format_bytes(static_cast<double>(sum.bytes)));
  fmt::print("\n");
  for (const auto& [key, value] : metadata) {
    std::string text = to_json(value);
    if (value.is_object())
      text = fmt::format("{} elements", to_json(value.get_object().at("elements")));
    if (text.size() > 70) {
      std::size_t end = 70;
      while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // between characters
      text = text.substr(0, end) + "...";
    }
    // Quoted where it holds more than a plain word: a file's text must not steer a terminal.
    const std::string quoted = to_json(json::value(key));
    fmt::print("  {:<46} {}\n", quoted.substr(1, quoted.size() - 2), text);
  }
}

}  // namespace octet::cli
