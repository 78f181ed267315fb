#pragma once

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "generate/grammar/json_numbers.h"
#include "generate/grammar/schema_pattern.h"
#include "generate/grammar/sources.h"

namespace octet::generate::grammar {

/// Where a schema stands in its document: a JSON pointer, linked to its beginning.
struct SchemaPlace {
  const SchemaPlace* parent = nullptr;
  std::string_view key;
  std::int64_t index = -1;  ///< of an array; -1: key counts
};
/// "#/properties/a"; long ones are cut in the middle.
std::string to_pointer(const SchemaPlace& place);

/// A schema in its document. plain: its `nullable` was dealt with.
struct Schema {
  const json::value* value = nullptr;
  const SchemaPlace* place = nullptr;
  bool plain = false;
};
/// Schemas that must all hold. Empty: anything goes.
using SchemaSet = std::vector<Schema>;
/// One of them is `false`.
bool is_never(const SchemaSet& set);

enum TypeBit : unsigned {
  kNullType = 1,
  kBooleanType = 2,
  kIntegerType = 4,
  kFractionType = 8,  ///< a number that is no integer
  kStringType = 16,
  kArrayType = 32,
  kObjectType = 64,
  kAllTypes = 127,
};

/// What schemas without alternatives demand together.
struct SchemaShape {
  struct Text {
    std::string_view text;
    const SchemaPlace* place = nullptr;
  };
  struct Property {
    std::string_view name;
    SchemaSet schemas;
    bool required = false;
  };
  const SchemaPlace* place = nullptr;                     ///< of the first, for messages
  unsigned types = kAllTypes;                             ///< TypeBits; 0: nothing fits
  std::optional<std::vector<const json::value*>> values;  ///< of enum and const
  std::optional<NumberBound> lower, upper;
  std::int64_t min_length = 0, max_length = kUnbounded;
  std::vector<Text> patterns, formats;
  std::vector<SchemaSet> prefix_items;
  SchemaSet items;  ///< of the others
  std::int64_t min_items = 0, max_items = kUnbounded;
  std::vector<Property> properties;         ///< in the schema's order
  std::vector<std::string_view> forbidden;  ///< names that may not appear
  bool additional = true;                   ///< others may appear
  bool additional_said = false;             ///< the schema says so itself
  SchemaSet additional_schemas;
  std::vector<std::pair<Text, SchemaSet>> pattern_properties;
  SchemaSet property_names;
  std::int64_t min_properties = 0, max_properties = kUnbounded;
};

/// Reads a schema document: checks it, follows references, merges what must hold together.
/// root must outlive it. Cost: bounded; a document whose alternatives multiply beyond that is an
/// error. Errors: invalid_argument with the place.
class SchemaReader {
 public:
  /// Errors: larger than kMaxSchemaBytes or deeper than kMaxSchemaDepth.
  SchemaReader(const json::value& root, const JsonStyle& style, std::vector<std::string>* ignored);

  SchemaSet root() const { return {{&root_, &top_}}; }
  /// Where a schema that is only a reference leads; others as they are.
  Schema followed(Schema schema);
  /// If the set says no more than "one of these": these.
  std::optional<std::vector<SchemaSet>> alternatives(const SchemaSet& set);
  /// All the ways to hold: one of them must.
  std::vector<SchemaShape> shapes(const SchemaSet& set);

  /// A keyword that can't be obeyed (at all, or here): an error if strict, else noted.
  void unsupported(const SchemaPlace& place, std::string_view keyword, std::string_view why);
  [[noreturn]] void malformed(const SchemaPlace& place, std::string_view expected,
                              const json::value& found);
  const SchemaPlace* at(const SchemaPlace* parent, std::string_view key);
  const SchemaPlace* at(const SchemaPlace* parent, std::int64_t index);

 private:
  struct Group {
    const void* id;
    std::vector<Schema> alternatives;
  };
  struct Expansion {
    std::vector<Schema> objects;
    std::set<std::pair<const json::value*, bool>> seen;
    std::set<const void*> decided;
    std::vector<Group> pending;
    bool never = false;
  };
  void add(Expansion& expansion, Schema schema);
  Schema resolve(const Schema& from, const json::value& reference);
  std::vector<Schema> schemas_of(const json::value& list, const SchemaPlace* place);
  void check_keywords(const Schema& schema);
  SchemaShape merge(const std::vector<Schema>& objects);
  void merge_simple(SchemaShape& shape, const Schema& schema, unsigned& implied, bool& typed);
  void merge_items(SchemaShape& shape, const std::vector<Schema>& objects);
  void merge_properties(SchemaShape& shape, const std::vector<Schema>& objects);
  NamePattern name_pattern(std::string_view pattern, const SchemaPlace* place);
  void spend(std::size_t steps);

  const json::value& root_;
  JsonStyle style_;
  std::vector<std::string>* ignored_;
  SchemaPlace top_;
  std::deque<SchemaPlace> places_;
  std::unordered_set<const json::value*> checked_;
  std::size_t steps_ = 0;
};

}  // namespace octet::generate::grammar
