#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "generate/grammar/json_text.h"
#include "generate/grammar/schema_reader.h"

namespace octet::generate::grammar {

/// Rules for the values of one schema document. Every set of schemas becomes one rule, made when
/// finish() gets to it: recursion in the schema is recursion of rules, never of this code.
class SchemaRules {
 public:
  /// text, root and ignored must outlive it. Errors: as json_schema.
  SchemaRules(JsonText& text, const json::value& root, std::vector<std::string>* ignored);
  SchemaReader& reader() { return reader_; }
  JsonText& text() { return text_; }

  /// A JSON value of the set.
  NodePtr value(const SchemaSet& given);
  /// The same as a tool's parameter is written: strings bare (up to `close`, which they must not
  /// contain), all others as JSON.
  NodePtr bare_value(const SchemaSet& set, const std::string& close);
  /// Makes the bodies of all rules that were asked for.
  void finish();

  /// Members of an object: those of `known` in order (optional ones may be missing), then any
  /// number of `other` (null: none). Null if there is no such object. separator: between members;
  /// end: after the last, if there is one.
  struct Member {
    NodePtr node;
    bool required = false;
  };
  NodePtr members(const std::vector<Member>& known, const NodePtr& other, const NodePtr& separator,
                  const NodePtr& end, const SchemaShape& shape);

 private:
  using Key = std::vector<std::pair<const json::value*, bool>>;
  NodePtr body(const SchemaSet& set);
  /// What pattern and format say of a string's text, before escaping; null: nothing.
  NodePtr string_text(const SchemaShape& shape, Rules& rules);
  void add_choices(const SchemaShape& shape, std::vector<NodePtr>& choices);
  NodePtr string(const SchemaShape& shape);
  NodePtr bare_string(const SchemaShape& shape, const std::string& close);
  NodePtr array(const SchemaShape& shape);
  NodePtr object(const SchemaShape& shape);

  JsonText& text_;
  SchemaReader reader_;
  std::map<Key, std::int32_t> known_;
  std::vector<std::pair<std::int32_t, SchemaSet>> queue_;
};

}  // namespace octet::generate::grammar
