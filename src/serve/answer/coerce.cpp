#include "serve/answer/coerce.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "serve/answer/answer_parser.h"

namespace octet::serve {

namespace {

constexpr std::size_t kMaxBranches = 64;
constexpr int kMaxReferences = 32;

enum Type : unsigned {
  kNull = 1,
  kInteger = 2,
  kNumber = 4,
  kBoolean = 8,
  kObject = 16,
  kArray = 32,
  kString = 64,
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

// A type's name, or one of those that tools written for other languages have. Unknown: string.
Type named_type(std::string_view written) {
  const std::string name = lower(written);
  const auto any = [&](std::initializer_list<std::string_view> starts) {
    return std::ranges::any_of(starts, [&](auto s) { return name.starts_with(s); });
  };
  if (name == "null" || name == "none" || name == "nonetype") return kNull;
  if (any({"int", "uint", "long", "short"})) return kInteger;
  if (any({"num", "float", "double"})) return kNumber;
  if (any({"bool", "binary"})) return kBoolean;
  if (name == "object" || name == "map" || any({"dict"})) return kObject;
  if (name == "tuple" || name == "set" || any({"list", "arr"})) return kArray;
  return kString;
}

Type type_of(const json::value& v) {
  switch (v.kind()) {
    case json::kind::null:
      return kNull;
    case json::kind::bool_:
      return kBoolean;
    case json::kind::int64:
    case json::kind::uint64:
      return kInteger;
    case json::kind::double_:
      return kNumber;
    case json::kind::array:
      return kArray;
    case json::kind::object:
      return kObject;
    case json::kind::string:
      break;
  }
  return kString;
}

// Optional sign and digits, or such with .0: as Python prints the integer.
std::optional<std::string> integer(std::string_view text) {
  const bool minus = text.starts_with('-');
  if (minus || text.starts_with('+')) text.remove_prefix(1);
  std::size_t n = 0;
  while (n < text.size() && is_digit(text[n])) ++n;
  if (n == 0) return {};
  std::string_view rest = text.substr(n);
  if (!rest.empty() &&
      (rest.size() < 2 || rest[0] != '.' || rest.find_first_not_of('0', 1) != rest.npos))
    return {};
  text = text.substr(0, n);
  text.remove_prefix(std::min(text.find_first_not_of('0'), n - 1));
  std::string out;
  if (minus && text != "0") out = '-';
  out += text;
  return out;
}

// Digits with point or exponent.
std::optional<std::string> number(std::string_view text) {
  if (auto whole = integer(text); whole && text.find('.') == text.npos) return whole;
  std::string_view digits = text;
  if (digits.starts_with('-') || digits.starts_with('+')) digits.remove_prefix(1);
  // Keeps out inf, nan and a second sign.
  if (digits.empty() || (!is_digit(digits[0]) && digits[0] != '.')) return {};
  const auto value = to_double(text);
  if (!value) return {};
  return format_double(*value);
}

}  // namespace

// What one schema says by itself.
struct Coercer::Branch {
  explicit Branch(const json::object& o) : object(o) {
    if (const json::value* t = o.if_contains("type")) {
      if (t->is_string()) types |= named_type(t->get_string());
      if (t->is_array())
        for (const json::value& v : t->get_array())
          if (v.is_string()) types |= named_type(v.get_string());
    }
    const auto literal = [&](const json::value& v) {
      types |= type_of(v);
      if (v.is_string()) literals.insert(v.get_string());
    };
    if (const json::value* v = o.if_contains("const")) literal(*v);
    if (const json::value* list = o.if_contains("enum"); list && list->is_array())
      for (const json::value& v : list->get_array()) literal(v);
    // OpenAPI's way of saying it.
    if (const json::value* v = o.if_contains("nullable"); v && v->is_bool() && v->get_bool())
      if (types) types |= kNull;
  }
  const json::object& object;
  unsigned types = 0;
  std::unordered_set<std::string_view> literals;  // strings of enum and const
};

// What a schema says with all that it is composed of.
struct Coercer::Facts {
  unsigned types = 0;
  std::vector<const Branch*> branches;
  bool has_literal(std::string_view text) const {
    return std::ranges::any_of(branches, [&](auto* b) { return b->literals.contains(text); });
  }
};

Coercer::Coercer(const json::value& root) : root_(root) {}
Coercer::~Coercer() = default;
Coercer::Coercer(Coercer&&) noexcept = default;

const json::value* Coercer::resolve(std::string_view reference) const {
  if (!reference.starts_with('#')) return nullptr;
  boost::system::error_code code;
  return root_.find_pointer(reference.substr(1), code);
}

const Coercer::Facts& Coercer::facts(const json::value* schema) {
  auto& slot = facts_[schema];
  if (slot) return *slot;
  slot = std::make_unique<Facts>();
  Facts& f = *slot;
  if (!schema) return f;
  std::vector<std::pair<const json::value*, int>> todo{{schema, 0}};
  std::unordered_set<const json::value*> seen{schema};
  const auto add = [&](const json::value* v, int references) {
    if (v && v->is_object() && references <= kMaxReferences && seen.insert(v).second)
      todo.emplace_back(v, references);
  };
  for (std::size_t i = 0; i < std::min(todo.size(), kMaxBranches); ++i) {
    const auto [node, references] = todo[i];
    if (!node->is_object()) continue;
    const json::object& o = node->get_object();
    auto& branch = branches_[node];
    if (!branch) branch = std::make_unique<Branch>(o);
    f.branches.push_back(branch.get());
    f.types |= branch->types;
    if (const json::value* r = o.if_contains("$ref"); r && r->is_string())
      add(resolve(r->get_string()), references + 1);
    for (const char* key : {"anyOf", "oneOf", "allOf"})
      if (const json::value* list = o.if_contains(key); list && list->is_array())
        for (const json::value& v : list->get_array()) {
          if (todo.size() >= kMaxBranches) break;
          add(&v, references);
        }
  }
  return f;
}

const json::value* Coercer::member(const Facts& facts, std::string_view name) const {
  for (const Branch* b : facts.branches)
    if (const json::value* p = b->object.if_contains("properties"); p && p->is_object())
      if (const json::value* s = p->get_object().if_contains(name)) return s;
  for (const Branch* b : facts.branches)
    if (const json::value* s = b->object.if_contains("additionalProperties"); s && s->is_object())
      return s;
  return nullptr;
}

const json::value* Coercer::item(const Facts& facts, std::size_t index) const {
  for (const Branch* b : facts.branches) {
    for (const char* key : {"prefixItems", "items"})
      if (const json::value* list = b->object.if_contains(key);
          list && list->is_array() && index < list->get_array().size())
        return &list->get_array()[index];
    if (const json::value* s = b->object.if_contains("items"); s && s->is_object()) return s;
  }
  return nullptr;
}

const json::value* Coercer::parameter(std::string_view name) {
  return member(facts(&root_), name);
}

bool Coercer::has_property(std::string_view name) {
  return std::ranges::any_of(facts(&root_).branches, [&](const Branch* b) {
    const json::value* p = b->object.if_contains("properties");
    return p && p->is_object() && p->get_object().contains(name);
  });
}

std::size_t Coercer::longest_property() {
  std::size_t longest = 0;
  for (const Branch* b : facts(&root_).branches)
    if (const json::value* p = b->object.if_contains("properties"); p && p->is_object())
      for (const auto& property : p->get_object())
        longest = std::max(longest, property.key().size());
  return longest;
}

bool Coercer::is_string(const json::value* schema) {
  const unsigned types = facts(schema).types;
  return types == 0 || types == kString;
}

std::string Coercer::coerce(std::string_view text, const json::value* schema) {
  return narrow(text, facts(schema), schema, 0).value_or(json_string(text));
}

std::string Coercer::coerce_object(const Literal& literal, Literal::Node node) {
  std::string out;
  write_object(out, literal, node, facts(&root_), 0);
  return out;
}

// The first of the narrower types that a text is written as; none if only a string is left.
std::optional<std::string> Coercer::narrow(std::string_view text, const Facts& f,
                                           const json::value* schema, int depth) {
  if (f.has_literal(text)) return json_string(text);
  text = trimmed(text);
  if (text.empty()) return {};
  const std::string word = text.size() <= 5 ? lower(text) : std::string();
  if ((f.types & kNull) && (word == "null" || word == "none")) return "null";
  if (f.types & kInteger)
    if (auto v = integer(text)) return v;
  if (f.types & kNumber)
    if (auto v = number(text)) return v;
  if (f.types & kBoolean) {
    if (word == "true" || word == "1") return "true";
    if (word == "false" || word == "0") return "false";
  }
  if ((f.types & kObject) && text[0] == '{')
    if (auto v = container(text, Literal::Kind::object, schema, depth)) return v;
  if ((f.types & kArray) && (text[0] == '[' || text[0] == '('))
    if (auto v = container(text, Literal::Kind::array, schema, depth)) return v;
  return {};
}

std::optional<std::string> Coercer::container(std::string_view text, Literal::Kind kind,
                                              const json::value* schema, int depth) {
  const auto literal = Literal::parse_either(text, Literal::kMaxDepth - depth);
  if (!literal || literal->kind(literal->root()) != kind) return {};
  std::string out;
  write(out, *literal, literal->root(), schema, depth);
  return out;
}

void Coercer::write(std::string& out, const Literal& literal, Literal::Node node,
                    const json::value* schema, int depth) {
  switch (literal.kind(node)) {
    case Literal::Kind::object:
      write_object(out, literal, node, facts(schema), depth);
      break;
    case Literal::Kind::array: {
      out += '[';
      const Facts& f = facts(schema);
      std::size_t index = 0;
      for (const Literal::Node child : literal.items(node)) {
        if (index > 0) out += ", ";
        write(out, literal, child, item(f, index++), depth + 1);
      }
      out += ']';
      break;
    }
    default:
      out += scalar(literal, node, schema, depth);
  }
}

void Coercer::write_object(std::string& out, const Literal& literal, Literal::Node node,
                           const Facts& f, int depth) {
  const auto nodes = literal.items(node);
  // As in a Python dict, a repeated key keeps its place and takes the last value.
  std::vector<std::pair<std::string, Literal::Node>> members;
  members.reserve(nodes.size() / 2);
  std::unordered_map<std::string_view, std::size_t> places;
  for (std::size_t i = 0; i + 1 < nodes.size(); i += 2) {
    std::string key = literal.string(nodes[i]);
    if (const auto p = places.find(key); p != places.end()) {
      members[p->second].second = nodes[i + 1];
    } else {
      members.emplace_back(std::move(key), nodes[i + 1]);
      places.emplace(members.back().first, members.size() - 1);
    }
  }
  out += '{';
  bool first = true;
  for (const auto& [key, value] : members) {
    if (!first) out += ", ";
    first = false;
    out += json_string(key) + ": ";
    write(out, literal, value, member(f, key), depth + 1);
  }
  out += '}';
}

// A scalar within a container already has a type. It stays as it is if the schema allows that;
// otherwise its text is coerced, so that "3" becomes 3 and 3 becomes "3".
std::string Coercer::scalar(const Literal& literal, Literal::Node node, const json::value* schema,
                            int depth) {
  const Literal::Kind kind = literal.kind(node);
  const std::string text = kind == Literal::Kind::string    ? literal.string(node)
                           : kind == Literal::Kind::null    ? "null"
                           : kind == Literal::Kind::boolean ? literal.truth(node) ? "true" : "false"
                                                            : std::string(literal.source(node));
  const Facts& f = facts(schema);
  unsigned allowed = 0;
  std::string as_is = text;
  switch (kind) {
    case Literal::Kind::string:
      allowed = kString;
      as_is = json_string(text);
      break;
    case Literal::Kind::boolean:
      allowed = kBoolean;
      break;
    case Literal::Kind::integer:
      allowed = kInteger | kNumber;
      as_is = *integer(text);
      break;
    case Literal::Kind::real:
      allowed = kNumber;
      as_is = *number(text);
      break;
    default:
      return as_is;
  }
  if (f.types == 0 || (f.types & allowed) || depth >= Literal::kMaxDepth) return as_is;
  if (auto v = narrow(text, f, schema, depth)) return *v;
  return f.types & kString ? json_string(text) : as_is;
}

std::string coerce_argument(std::string_view text, const json::value* schema,
                            const json::value& root) {
  return Coercer(root).coerce(text, schema);
}

}  // namespace octet::serve
