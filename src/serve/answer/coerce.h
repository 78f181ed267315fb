#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "runtime/base/json.h"
#include "serve/answer/literal.h"

namespace octet::serve {

/// Gives arguments the types that a tool's JSON schema asks for. serving.md §13.4. What schemas say
/// is remembered, so that long lists of arguments cost no more than their text. Schemas are bad
/// input too: references are local and at most 32 long, at most 64 branches of a schema count.
/// Threads: one at a time.
class Coercer {
 public:
  /// root: what references refer to. It must outlive this, unmoved.
  explicit Coercer(const json::value& root);
  ~Coercer();
  Coercer(Coercer&&) noexcept;

  /// The schema of an argument; null if the tool doesn't have one.
  const json::value* parameter(std::string_view name);
  bool has_property(std::string_view name);
  /// Bytes of the longest name of a property; 0 if there is none.
  std::size_t longest_property();
  /// Whether every text stays a string, so that it needn't be complete to be sent.
  bool is_string(const json::value* schema);
  /// The value of a text as JSON. Keeps the text as a string if nothing else fits.
  std::string coerce(std::string_view text, const json::value* schema);
  /// All arguments at once: an object as it stands in JSON or Python, its members by their schemas.
  std::string coerce_object(const Literal& literal, Literal::Node node);

 private:
  struct Branch;
  struct Facts;
  const Facts& facts(const json::value* schema);
  const json::value* resolve(std::string_view reference) const;
  const json::value* member(const Facts& facts, std::string_view name) const;
  const json::value* item(const Facts& facts, std::size_t index) const;
  std::optional<std::string> narrow(std::string_view text, const Facts& facts,
                                    const json::value* schema, int depth);
  std::optional<std::string> container(std::string_view text, Literal::Kind kind,
                                       const json::value* schema, int depth);
  void write(std::string& out, const Literal& literal, Literal::Node node,
             const json::value* schema, int depth);
  void write_object(std::string& out, const Literal& literal, Literal::Node node,
                    const Facts& facts, int depth);
  std::string scalar(const Literal& literal, Literal::Node node, const json::value* schema,
                     int depth);

  const json::value& root_;
  std::unordered_map<const json::value*, std::unique_ptr<Facts>> facts_;
  std::unordered_map<const json::value*, std::unique_ptr<Branch>> branches_;
};

}  // namespace octet::serve
