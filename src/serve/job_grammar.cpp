#include "serve/job_grammar.h"

#include <algorithm>
#include <unordered_map>

#include "generate/grammar/tool_rules.h"
#include "runtime/base/hash.h"

namespace octet::serve {

namespace {

namespace grammar = generate::grammar;
using grammar::Node;
using grammar::NodeKind;
using grammar::NodePtr;
using grammar::Rules;

// Nodes of one set of rules, with the numbers that the rules have in another. Depth: a parser's
// limit on nesting.
class Importer {
 public:
  Importer(Rules& into, const Rules& from)
      : into_(into), from_(from), first_(static_cast<std::int32_t>(into.rules.size())) {}
  NodePtr run() {
    for (const auto& rule : from_.rules) into_.add(rule.name);
    for (std::size_t i = 0; i < from_.rules.size(); ++i)
      into_.rules[static_cast<std::size_t>(first_) + i].body = copy(from_.rules[i].body);
    return grammar::rule_ref(first_ + from_.root);
  }

 private:
  NodePtr copy(const NodePtr& node) {
    if (!node) return node;
    const auto [at, is_new] = copies_.try_emplace(node.get());
    if (!is_new) return at->second;
    auto n = std::make_shared<Node>(*node);
    if (n->kind == NodeKind::rule) n->rule += first_;
    for (NodePtr& child : n->children) child = copy(child);
    return copies_[node.get()] = n;
  }
  Rules& into_;
  const Rules& from_;
  std::int32_t first_;
  std::unordered_map<const Node*, NodePtr> copies_;
};

grammar::JsonStyle style_of(const ContentFormat& format) {
  return {.any_whitespace = format.any_whitespace,
          .strict = format.strict,
          .additional_properties = format.additional_properties};
}

// The content's node within some rules. Errors: as the sources'.
NodePtr content_node(Rules& rules, const ContentFormat& format) {
  const grammar::JsonStyle style = style_of(format);
  switch (format.kind) {
    case ContentFormat::Kind::text:
      return grammar::text_without({});
    case ContentFormat::Kind::json_object:
      return grammar::json_object(rules, style);
    case ContentFormat::Kind::json_schema:
      return grammar::json_schema(rules, format.schema, style);
    case ContentFormat::Kind::regex:
      return grammar::regex(rules, format.source);
    case ContentFormat::Kind::choice: {
      std::vector<NodePtr> nodes;
      for (const std::string& c : format.choices) nodes.push_back(grammar::literal(c));
      return grammar::choice(std::move(nodes));
    }
    case ContentFormat::Kind::grammar:
      return Importer(rules, grammar::parse_ebnf(format.source)).run();
    case ContentFormat::Kind::structural_tag:
      return Importer(rules, grammar::structural_tag_rules(format.schema, style)).run();
  }
  fail(ErrorCode::internal, "a content format of unknown kind");
}

json::object describe(const ContentFormat& f) {
  json::array choices;
  for (const std::string& c : f.choices) choices.emplace_back(c);
  return {{"kind", static_cast<int>(f.kind)},
          {"schema", f.schema},
          {"source", f.source},
          {"choices", std::move(choices)},
          {"strict", f.strict},
          {"whitespace", f.any_whitespace},
          {"additional", f.additional_properties}};
}

std::string key_of(const json::object& description) {
  const std::string text = to_json(description);
  return to_hex(hash128(std::as_bytes(std::span(text))));
}

// The tools that may be called.
std::vector<grammar::ToolSchema> callable(const Job& job) {
  std::vector<grammar::ToolSchema> tools;
  const ToolChoice& choice = job.tool_choice;
  for (const Tool& t : job.tools) {
    const bool may = choice.mode == ToolChoice::Mode::named
                         ? t.name == choice.name
                         : choice.allowed.empty() ||
                               std::ranges::find(choice.allowed, t.name) != choice.allowed.end();
    if (may) tools.push_back({t.name, t.parameters, t.strict});
  }
  return tools;
}

}  // namespace

std::optional<GrammarPlan> plan_grammar(const Job& job) {
  const ContentFormat& format = job.format;
  const bool free_content = format.kind == ContentFormat::Kind::text;
  const ToolChoice::Mode mode = job.tool_choice.mode;
  const bool forced = mode == ToolChoice::Mode::required || mode == ToolChoice::Mode::named;
  auto tools = mode == ToolChoice::Mode::none || (!job.parse_tools && !forced)
                   ? std::vector<grammar::ToolSchema>{}
                   : callable(job);
  if (tools.empty()) {
    if (free_content) return std::nullopt;
    return GrammarPlan{key_of(describe(format)),
                       [format] {
                         Rules rules;
                         const std::int32_t root = rules.add("root");
                         NodePtr body = content_node(rules, format);
                         rules.rules[static_cast<std::size_t>(root)].body = std::move(body);
                         rules.root = root;
                         return rules;
                       },
                       format.param};
  }
  const auto tool_mode = !forced ? grammar::ToolMode::optional
                         : mode == ToolChoice::Mode::named || !job.parallel_tool_calls
                             ? grammar::ToolMode::single
                             : grammar::ToolMode::required;
  json::array described;
  for (const auto& t : tools)
    described.push_back({{"name", t.name}, {"parameters", t.parameters}, {"strict", t.strict}});
  json::object description{{"tools", std::move(described)},
                           {"mode", static_cast<int>(tool_mode)},
                           {"parallel", job.parallel_tool_calls}};
  // A forced call leaves no room for content.
  const bool with_content = !forced && !free_content;
  if (with_content) description["content"] = describe(format);
  return GrammarPlan{key_of(description),
                     [tools = std::move(tools), tool_mode, parallel = job.parallel_tool_calls,
                      format = with_content ? format : ContentFormat{}, with_content] {
                       std::function<NodePtr(Rules&)> content;
                       if (with_content)
                         content = [&](Rules& rules) { return content_node(rules, format); };
                       return grammar::tool_call_rules(tools, tool_mode, parallel, content,
                                                       style_of(format));
                     },
                     with_content ? format.param : "tools"};
}

}  // namespace octet::serve
