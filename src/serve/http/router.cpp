#include "serve/http/router.h"

#include <algorithm>
#include <utility>

namespace octet::serve {

Dialect dialect_of(std::string_view path) {
  return path == "/v1/messages" || path.starts_with("/v1/messages/") ? Dialect::anthropic
                                                                     : Dialect::openai;
}

std::string_view HttpRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers)
    if (name == lower_case_name) return value;
  return {};
}

void Router::add(Route route) {
  if (route.name.empty()) route.name = route.pattern;
  routes_.push_back(std::move(route));
}

const Route* Router::find(std::string_view method, std::string_view path,
                          std::vector<std::string>& parameters, std::string& allow) const {
  allow.clear();
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    const std::string_view pattern = route.pattern;
    const std::size_t hole = pattern.find("{}");
    if (hole == std::string_view::npos) {
      if (path != pattern) continue;
    } else {
      const std::string_view before = pattern.substr(0, hole), after = pattern.substr(hole + 2);
      if (path.size() <= before.size() + after.size() || !path.starts_with(before) ||
          !path.ends_with(after))
        continue;
      parameters = {
          std::string(path.substr(before.size(), path.size() - before.size() - after.size()))};
    }
    if (route.method == wanted) return &route;
    if (allow.find(route.method) == std::string::npos) {
      allow += allow.empty() ? "" : ", ";
      allow += route.method;
    }
  }
  parameters.clear();
  return nullptr;
}

}  // namespace octet::serve
