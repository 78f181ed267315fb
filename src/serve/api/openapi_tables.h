#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace octet::serve {

/// A field of a request or an answer.
struct ApiField {
  std::string_view name;
  std::string_view type;  ///< of openapi.cpp's short words, alternatives with |
  bool required = false;
  std::optional<double> min, max, above;  ///< above: exclusive
  std::vector<std::string_view> values;   ///< of an enum
  std::optional<std::int64_t> min_items, max_items, max_length;
  std::string_view text;
};

struct ApiSchema {
  std::string_view name;
  std::vector<ApiField> fields;
};

struct ApiEndpoint {
  std::string_view method, path, id, text;
  std::string_view request, answer;  ///< names of schemas; empty: none
  std::string_view answer_type = "application/json";
  bool streams = false, is_public = false;
};

const std::vector<ApiEndpoint>& api_endpoints();
const std::vector<ApiSchema>& api_schemas();

}  // namespace octet::serve
