// How long a grammar's masks take over a vocabulary of the real size (248,320 tokens, made up here:
// bytes, JSON's punctuation, words, other scripts): the first time that a state is met, and after.
// ninja -C build/release grammar_masks && build/release/bench/grammar_masks
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "generate/grammar/matcher.h"
#include "generate/grammar/sources.h"

using namespace octet::generate::grammar;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kTokens = 248320;

double microseconds(Clock::time_point from) {
  return std::chrono::duration<double, std::micro>(Clock::now() - from).count();
}

std::string utf8(std::uint32_t c) {
  const auto byte = [](std::uint32_t x) { return static_cast<char>(x); };
  if (c < 0x800) return {byte(0xC0 | c >> 6), byte(0x80 | (c & 63))};
  if (c < 0x10000) return {byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
  return {byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)),
          byte(0x80 | (c & 63))};
}

std::vector<std::string> make_tokens() {
  std::mt19937_64 random(1);
  std::vector<std::string> tokens;
  std::unordered_set<std::string> seen;
  const auto add = [&](std::string s) {
    if (tokens.size() < kTokens - 1 && seen.insert(s).second) tokens.push_back(std::move(s));
  };
  for (int b = 0; b < 256; ++b) add(std::string(1, static_cast<char>(b)));
  for (const char* s :
       {"\":", "\",", "\"}", "\"]", "{\"", "[\"", "\": ", "\", ", "\"},", "\": \"", "\", \"",
        "},{", "]}",  "}}",  "{}",  "[]",  ", ",  ": ",   ",\n",  "{\n",  "\n}"})
    add(s);
  for (std::size_t n = 1; n <= 64; ++n) {
    add(std::string(n, ' '));
    add("\n" + std::string(n, ' '));
    add(",\n" + std::string(n, ' '));
    add(std::string(n, '='));
  }
  const std::string marks = "{}[]\":,.;()<>=+-*/&|!?#$%@^~`'\\_ \n";
  for (int i = 0; i < 9000; ++i) {
    std::string s;
    for (auto n = 2 + random() % 4; n > 0; --n) s += marks[random() % marks.size()];
    add(s);
  }
  const auto word = [&] {
    std::string s;
    for (auto n = 1 + random() % 4; n > 0; --n) {
      s += "bcdfghjklmnprstvwz"[random() % 18];
      s += "aeiouy"[random() % 6];
      if (random() % 3 == 0) s += "nrst"[random() % 4];
    }
    return s;
  };
  while (tokens.size() < 150'000) {
    std::string w = word();
    if (random() % 4 == 0) w[0] = static_cast<char>(w[0] - 'a' + 'A');
    add(random() % 2 == 0 ? " " + w : w);
    if (random() % 8 == 0) add(w + "(\".,=_:'"[random() % 9]);
  }
  while (tokens.size() < kTokens - 1) {
    const std::uint32_t begins[] = {0x4E00, 0x4E00, 0x410, 0xAC00, 0x600, 0x1F300};
    const std::uint32_t sizes[] = {8000, 8000, 64, 11000, 200, 900};
    const auto script = random() % 6;
    std::string s;
    for (auto n = 1 + random() % 3; n > 0; --n)
      s += utf8(begins[script] + static_cast<std::uint32_t>(random() % sizes[script]));
    if (random() % 12 == 0) s.pop_back();  // tokens may end inside a character
    add(s);
  }
  tokens.emplace_back();  // ends the answer
  return tokens;
}

class Texts {
 public:
  std::string words(std::size_t bytes) {
    std::string s;
    while (s.size() < bytes) {
      for (auto n = 2 + random_() % 8; n > 0; --n) s += static_cast<char>('a' + random_() % 26);
      s += ' ';
    }
    return s.substr(0, bytes - 1) + ".";
  }
  std::string value(int depth) {
    const auto kind = random_() % (depth > 0 ? 5 : 3);
    if (kind == 0) return "\"" + words(5 + random_() % 30) + "\"";
    if (kind == 1) return std::to_string(random_() % 100000);
    if (kind == 2) return "true";
    if (kind == 3) return object(depth - 1);
    return "[" + value(depth - 1) + ", " + value(depth - 1) + "]";
  }
  std::string object(int depth) {
    return "{\"" + words(8) + "\": " + value(depth) + ", \"" + words(6) + "\": " + value(depth) +
           "}";
  }
  std::string person() {
    return "{\"name\": \"" + words(12) + "\", \"age\": " + std::to_string(random_() % 100) +
           ", \"tags\": [\"" + words(6) + "\", \"" + words(9) +
           "\"], \"child\": " + (random_() % 3 ? person() : "null") + "}";
  }

 private:
  std::mt19937_64 random_{3};
};

struct Case {
  std::string name;
  Rules rules;
  std::function<std::string()> text;
};

void print(const char* what, std::vector<double> times) {
  double sum = 0;
  for (const double t : times) sum += t;
  std::ranges::sort(times);
  const std::size_t n = times.size();
  fmt::print("  {:<12}{:>7} masks{:>9.1f} mean{:>9.1f} median{:>9.1f} p99{:>9.0f} max  us\n", what,
             n, sum / static_cast<double>(n), times[n / 2], times[n * 99 / 100], times.back());
}

}  // namespace

int main() {
  const std::vector<std::string> tokens = make_tokens();
  std::vector<std::vector<std::int32_t>> by_first(256);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (!tokens[i].empty())
      by_first[static_cast<unsigned char>(tokens[i][0])].push_back(static_cast<std::int32_t>(i));
  auto start = Clock::now();
  const auto vocabulary = std::make_shared<const Vocabulary>(
      tokens, std::vector<std::int32_t>{static_cast<std::int32_t>(kTokens) - 1});
  fmt::print("vocabulary of {} tokens: {:.0f} ms\n", tokens.size(), microseconds(start) / 1000);

  Texts texts;
  std::vector<Case> cases;
  const auto add = [&](const char* name, const std::function<NodePtr(Rules&)>& make,
                       std::function<std::string()> text) {
    Rules rules;
    rules.root = rules.add("root");
    NodePtr body = make(rules);
    rules.rules[static_cast<std::size_t>(rules.root)].body = std::move(body);
    cases.push_back({name, std::move(rules), std::move(text)});
  };
  add(
      "any JSON object", [](Rules& r) { return json_object(r, {}); },
      [&] { return texts.object(4); });
  const octet::json::value schema = octet::parse_json(
      R"({"type": "object", "additionalProperties": false, "required": ["name", "age", "tags", "child"],
          "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
          "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 9}, "child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}})",
      "schema");
  add(
      "recursive schema", [&](Rules& r) { return json_schema(r, schema, {}); },
      [&] { return texts.person(); });
  add(
      "[a-z .]{1,500}", [](Rules& r) { return regex(r, "[a-z .]{1,500}"); },
      [&] { return texts.words(450); });
  add(
      "free text",
      [](Rules& r) {
        return sequence({text_without("<tool_call>"), optional(literal("<tool_call>"))});
      },
      [&] { return texts.words(1500); });

  std::vector<std::uint32_t> mask((kTokens + 31) / 32);
  for (Case& c : cases) {
    start = Clock::now();
    const auto grammar = CompiledGrammar::compile(c.rules, vocabulary);
    fmt::print("{}: compiled in {:.0f} us\n", c.name, microseconds(start));
    std::vector<std::string> documents;
    for (int i = 0; i < 20; ++i) documents.push_back(c.text());
    for (const char* pass : {"first", "again"}) {
      std::vector<double> times;
      for (const std::string& text : documents) {
        GrammarMatcher matcher(grammar);
        for (std::size_t at = 0; at < text.size();) {
          std::int32_t best = -1;
          std::size_t longest = 0;
          for (const std::int32_t id : by_first[static_cast<unsigned char>(text[at])]) {
            const std::string& token = tokens[static_cast<std::size_t>(id)];
            if (token.size() > longest && text.compare(at, token.size(), token) == 0) {
              best = id;
              longest = token.size();
            }
          }
          std::ranges::fill(mask, ~0u);
          start = Clock::now();
          matcher.fill_mask(mask);
          times.push_back(microseconds(start));
          if (!(mask[static_cast<std::size_t>(best) / 32] >> (best % 32) & 1) ||
              !matcher.accept(best)) {
            fmt::print("refused at byte {} of {}\n", at, text);
            return 1;
          }
          at += longest;
        }
      }
      print(pass, std::move(times));
    }
    fmt::print("  {:.1f} MiB\n", static_cast<double>(grammar->bytes()) / (1 << 20));
  }
}
