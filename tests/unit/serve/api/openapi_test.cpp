#include "serve/api/openapi.h"

#include <gtest/gtest.h>

#include <set>

#include "serve/api/metrics_route.h"

namespace octet::serve {
namespace {

void collect(const json::value& value, std::set<std::string>& references) {
  if (const json::object* object = value.if_object()) {
    for (const auto& [key, item] : *object) {
      if (key == "$ref") references.insert(std::string(item.as_string()));
      collect(item, references);
    }
  } else if (const json::array* array = value.if_array()) {
    for (const json::value& item : *array) collect(item, references);
  }
}

TEST(OpenApi, EveryReferenceLeadsToASchemaAndEverySchemaIsUsed) {
  const json::object& schemas = openapi().at("components").at("schemas").as_object();
  std::set<std::string> references, names;
  collect(openapi(), references);
  for (const auto& [name, schema] : schemas)
    names.insert("#/components/schemas/" + std::string(name));
  EXPECT_EQ(references, names);
}

TEST(OpenApi, OperationsAreWhole) {
  std::set<std::string_view> ids;
  for (const auto& [path, methods] : openapi().at("paths").as_object()) {
    EXPECT_TRUE(path.starts_with('/'));
    for (const auto& [method, operation] : methods.as_object()) {
      EXPECT_TRUE(ids.insert(operation.at("operationId").as_string()).second);
      EXPECT_EQ(operation.as_object().contains("requestBody"), method == "post") << path;
      EXPECT_TRUE(operation.at("responses").as_object().contains("200"));
      EXPECT_TRUE(operation.at("responses").as_object().contains("default"));
    }
  }
  EXPECT_EQ(openapi().at("openapi"), "3.1.0");
}

TEST(OpenApi, FieldsHaveTheirRanges) {
  const json::object& schemas = openapi().at("components").at("schemas").as_object();
  EXPECT_EQ(to_json(schemas.at("Messages").at("properties").at("temperature")),
            R"({"type": "number", "minimum": 0.0, "maximum": 1.0})");
  EXPECT_EQ(to_json(schemas.at("Chat").at("properties").at("top_p")),
            R"({"type": "number", "maximum": 1.0, "exclusiveMinimum": 0.0})");
  EXPECT_EQ(to_json(schemas.at("Responses").at("required")), R"(["input"])");
  EXPECT_EQ(to_json(schemas.at("Responses").at("properties").at("input")),
            R"({"anyOf": [{"type": "string"}, {"type": "array", "items": )"
            R"({"$ref": "#/components/schemas/ResponseItem"}}]})");
}

TEST(MetricsRoute, OpenMetricsIfAccepted) {
  EXPECT_TRUE(accepts_open_metrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"));
  EXPECT_TRUE(accepts_open_metrics("text/plain, application/openmetrics-text; q=0.3"));
  EXPECT_FALSE(accepts_open_metrics("application/openmetrics-text;q=0, text/plain;q=0.4"));
  EXPECT_FALSE(accepts_open_metrics("application/openmetrics-text;q=0.0"));
  EXPECT_FALSE(accepts_open_metrics("text/plain;version=0.0.4"));
  EXPECT_FALSE(accepts_open_metrics(""));
}

}  // namespace
}  // namespace octet::serve
