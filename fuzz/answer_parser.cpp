// Any text as an answer: an error-free parse whose events are the same for two cuts, and arguments
// that are JSON.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "runtime/base/error.h"
#include "serve/answer/answer_parser.h"

namespace {

using octet::serve::AnswerEvent;
using Joined = std::vector<std::tuple<int, int, std::string>>;

// The texts by kind and call, in order of their beginnings.
Joined parse(std::string_view text, unsigned seed, bool truncated,
             const octet::serve::AnswerParserOptions& options) {
  octet::serve::AnswerParser parser(options);
  Joined joined;
  const auto add = [&](const std::vector<AnswerEvent>& events) {
    for (const AnswerEvent& e : events) {
      const int kind = static_cast<int>(e.kind);
      if (!joined.empty() && std::get<0>(joined.back()) == kind &&
          std::get<1>(joined.back()) == e.call && e.kind != AnswerEvent::Kind::tool_begin)
        std::get<2>(joined.back()) += e.text;
      else
        joined.emplace_back(kind, e.call, e.text);
    }
  };
  for (std::size_t at = 0; at < text.size();) {
    seed = seed * 1664525 + 1013904223;
    const std::size_t n = seed == 0 ? text.size() : 1 + (seed >> 16) % 9;
    std::vector<AnswerEvent> events;
    parser.push(text.substr(at, n), events);
    add(events);
    at += n;
  }
  std::vector<AnswerEvent> events;
  parser.finish(truncated, events);
  add(events);
  joined.emplace_back(-1, -1, parser.open_call());
  return joined;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  octet::serve::AnswerParserOptions options;
  options.in_reasoning = (data[0] & 1) != 0;
  options.parse_reasoning = (data[0] & 2) == 0;
  options.parse_tools = (data[0] & 4) == 0;
  options.parallel_tool_calls = (data[0] & 8) == 0;
  const bool truncated = (data[0] & 16) != 0;
  static const std::vector<octet::serve::Tool> kTools{
      {"f", octet::parse_json(R"({"type": "object", "properties": {"s": {"type": "string"},
        "i": {"type": ["integer", "null"]}, "n": {"type": "number"}, "b": {"type": "boolean"},
        "o": {"$ref": "#/$defs/o"}, "e": {"enum": ["1", 2, null]}},
        "$defs": {"o": {"type": "object", "additionalProperties": {"$ref": "#/$defs/l"}},
        "l": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/o"}},
                        {"type": "integer"}]}}})",
                              "fuzz")},
      {"g", nullptr},
  };
  options.tools = kTools;
  const std::string_view text(reinterpret_cast<const char*>(data + 3), size - 3);
  const auto one = parse(text, data[1], truncated, options);
  if (one != parse(text, 0x10000U + data[2], truncated, options)) std::abort();
  const auto whole = octet::serve::parse_answer(text, truncated, options);
  for (const auto& call : whole.calls) {
    try {
      if (!octet::parse_json(call.arguments, "arguments").is_object()) std::abort();
    } catch (const octet::Error&) {
      // Bytes that are no UTF-8 stay what they are: only those are no JSON.
      bool ascii = true;
      for (const char c : call.arguments) ascii = ascii && static_cast<unsigned char>(c) < 0x80;
      if (ascii) std::abort();
    }
  }
  return 0;
}
