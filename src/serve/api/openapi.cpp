#include "serve/api/openapi.h"

#include "serve/api/compact_json.h"
#include "serve/api/openapi_tables.h"

namespace octet::serve {

namespace {

json::object reference(std::string_view schema) {
  return {{"$ref", "#/components/schemas/" + std::string(schema)}};
}

// Types are short words of the table: "string", "string[]", "integer", "string|null", "#Name".
json::object type_schema(std::string_view type) {
  if (type.ends_with("[]"))
    return {{"type", "array"}, {"items", type_schema(type.substr(0, type.size() - 2))}};
  if (type.starts_with('#')) return reference(type.substr(1));
  if (type == "any") return {};
  return {{"type", type}};
}

json::object field_schema(const ApiField& field) {
  json::array choices;
  std::string_view types = field.type;
  while (!types.empty()) {
    const std::size_t bar = types.find('|');
    choices.push_back(type_schema(types.substr(0, bar)));
    types = bar == std::string_view::npos ? std::string_view() : types.substr(bar + 1);
  }
  json::object out =
      choices.size() == 1 ? choices[0].as_object() : json::object{{"anyOf", std::move(choices)}};
  if (field.min) out["minimum"] = *field.min;
  if (field.max) out["maximum"] = *field.max;
  if (field.above) out["exclusiveMinimum"] = *field.above;
  if (!field.values.empty()) {
    json::array values;
    for (const std::string_view value : field.values) values.push_back(json::string(value));
    out["enum"] = std::move(values);
  }
  if (field.min_items) out["minItems"] = *field.min_items;
  if (field.max_items) out["maxItems"] = *field.max_items;
  if (field.max_length) out["maxLength"] = *field.max_length;
  if (!field.text.empty()) out["description"] = field.text;
  return out;
}

json::object object_schema(const ApiSchema& schema) {
  json::object properties;
  json::array required;
  for (const ApiField& field : schema.fields) {
    properties[field.name] = field_schema(field);
    if (field.required) required.push_back(json::string(field.name));
  }
  json::object out{{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) out["required"] = std::move(required);
  return out;
}

json::object response(std::string_view description, std::string_view type, json::object schema) {
  return {{"description", description}, {"content", {{type, {{"schema", std::move(schema)}}}}}};
}

json::object operation(const ApiEndpoint& endpoint) {
  json::object out{{"operationId", endpoint.id}, {"summary", endpoint.text}};
  const bool anthropic = endpoint.path.starts_with("/v1/messages");
  json::object responses;
  json::object ok = response("The answer.", endpoint.answer_type,
                             endpoint.answer.empty() ? json::object{} : reference(endpoint.answer));
  if (endpoint.streams)
    ok["content"].as_object()["text/event-stream"] = {{"schema", {{"type", "string"}}}};
  responses["200"] = std::move(ok);
  responses["default"] =
      response("An error.", "application/json", reference(anthropic ? "AnthropicError" : "Error"));
  out["responses"] = std::move(responses);
  if (!endpoint.request.empty())
    out["requestBody"] = {
        {"required", true},
        {"content", {{"application/json", {{"schema", reference(endpoint.request)}}}}}};
  if (const std::size_t hole = endpoint.path.find('{'); hole != std::string_view::npos) {
    const std::string_view name =
        endpoint.path.substr(hole + 1, endpoint.path.find('}') - hole - 1);
    out["parameters"] = json::array{json::object{
        {"name", name}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}}};
  }
  if (endpoint.is_public) out["security"] = json::array();
  return out;
}

json::object make() {
  json::object paths, schemas;
  for (const ApiEndpoint& endpoint : api_endpoints()) {
    json::value& path = paths[endpoint.path];
    if (path.is_null()) path = json::object();
    path.as_object()[endpoint.method] = operation(endpoint);
  }
  for (const ApiSchema& schema : api_schemas()) schemas[schema.name] = object_schema(schema);
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "octet"}, {"version", "1"}}},
          {"security", json::array{json::object{{"key", json::array()}}}},
          {"paths", std::move(paths)},
          {"components",
           {{"schemas", std::move(schemas)},
            {"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
}

}  // namespace

const json::object& openapi() {
  static const json::object document = make();
  return document;
}

void handle_openapi(const ExchangePtr& exchange) {
  exchange->respond(200, "application/json; charset=utf-8", compact_json(openapi()));
}

}  // namespace octet::serve
