#include "serve/http/gate.h"

#include <algorithm>
#include <utility>

#include "serve/http/target.h"

namespace octet::serve {
namespace {

bool has_star(const std::vector<std::string>& list) {
  return std::find(list.begin(), list.end(), "*") != list.end();
}

std::string joined(const std::vector<std::string>& list) {
  return fmt::format("{}", fmt::join(list, ", "));
}

}  // namespace

Gate::Gate(const HttpOptions& options, const Router& router)
    : options_(options), router_(router), keys_(options.api_keys, options.api_key_file) {}

bool Gate::allowed_origin(std::string_view origin) const {
  if (origin.empty()) return false;
  if (has_star(options_.allowed_origins)) return true;
  const std::string wanted = to_lower(origin);
  return std::any_of(options_.allowed_origins.begin(), options_.allowed_origins.end(),
                     [&](const std::string& allowed) { return to_lower(allowed) == wanted; });
}

void Gate::check_host(const HttpRequest& request, const std::string& authority, int version) const {
  const auto hosts = std::count_if(request.headers.begin(), request.headers.end(),
                                   [](const auto& header) { return header.first == "host"; });
  if (hosts > 1) throw HttpError(400, "more than one Host header");
  if (hosts == 0 && version >= 11) throw HttpError(400, "an HTTP/1.1 request without Host header");
  const std::string host(authority.empty() ? request.header("host") : authority);
  const auto name = host_of(host);
  if (!host.empty() && !name) throw HttpError(400, "the Host header is no host name or address");

  // A page of another site can make its own name mean this machine (DNS rebinding) and a browser
  // then lets it read; a server that asks for a key doesn't depend on who may reach it.
  if (!loopback_ || keys_.required()) return;
  const bool ours = !name || is_loopback_name(*name) || *name == to_lower(options_.host);
  if (!ours)
    throw HttpError(403, fmt::format("the Host {} is not this machine's loopback name; expected "
                                     "localhost. Give --host or an API key to be reached by names",
                                     host));
  const std::string_view origin = request.header("origin");
  if (origin.empty() || allowed_origin(origin)) return;
  const auto page = origin_authority(origin);
  if (!page || *page != to_lower(host))
    throw HttpError(403, fmt::format("a page of {} may not use this server; --allowed-origins "
                                     "names those that may",
                                     origin));
}

Headers Gate::cors_headers(const HttpRequest& request) const {
  Headers headers;
  if (options_.allowed_origins.empty()) return headers;
  const std::string_view origin = request.header("origin");
  const bool any = has_star(options_.allowed_origins);
  if (!any) headers.emplace_back("Vary", "Origin");
  if (!allowed_origin(origin)) return headers;
  // With * no credentials go, whatever is asked for: an echoed origin with credentials would let
  // every page act as the user.
  headers.emplace_back("Access-Control-Allow-Origin", any ? "*" : std::string(origin));
  if (!any && options_.allow_credentials)
    headers.emplace_back("Access-Control-Allow-Credentials", "true");
  headers.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  return headers;
}

Headers Gate::options_answer(const HttpRequest& request, const std::string& allow) const {
  Headers headers;
  headers.emplace_back("Allow", allow.empty() ? "OPTIONS" : allow + ", OPTIONS");
  const std::string_view method = request.header("access-control-request-method");
  if (method.empty() || !allowed_origin(request.header("origin"))) return headers;
  if (has_star(options_.allowed_methods)) {
    if (is_token_list(method))
      headers.emplace_back("Access-Control-Allow-Methods", std::string(method));
  } else if (!options_.allowed_methods.empty()) {
    headers.emplace_back("Access-Control-Allow-Methods", joined(options_.allowed_methods));
  }
  const std::string_view wanted = request.header("access-control-request-headers");
  if (has_star(options_.allowed_headers)) {
    // Named, because a * there does not cover Authorization.
    if (is_token_list(wanted))
      headers.emplace_back("Access-Control-Allow-Headers", std::string(wanted));
  } else if (!options_.allowed_headers.empty()) {
    headers.emplace_back("Access-Control-Allow-Headers", joined(options_.allowed_headers));
  }
  if (request.header("access-control-request-private-network") == "true")
    headers.emplace_back("Access-Control-Allow-Private-Network", "true");
  headers.emplace_back("Access-Control-Max-Age", "600");
  return headers;
}

void Gate::check_key(HttpRequest& request) const {
  if (!keys_.required()) return;
  const auto bearer = bearer_key(request.header("authorization"));
  const std::string plain(trim(request.header("x-api-key")));
  // Both are looked at, whichever fits: clients send an old one in the other header.
  if (bearer && keys_.knows(*bearer))
    request.key = *bearer;
  else if (!plain.empty() && keys_.knows(plain))
    request.key = plain;
  else {
    const bool given = bearer || !plain.empty();
    HttpError error(401, given ? "the API key is not known"
                               : "no API key; expected a header Authorization: Bearer KEY or "
                                 "X-Api-Key: KEY");
    error.headers.emplace_back("WWW-Authenticate", "Bearer");
    throw error;
  }
}

Gate::Admission Gate::admit(HttpRequest& request, const std::string& authority, int version,
                            bool has_body) const {
  std::string_view root = options_.root_path;
  while (root.ends_with('/')) root.remove_suffix(1);
  if (!root.empty() && request.path.starts_with(root)) {
    if (request.path.size() == root.size())
      request.path = "/";
    else if (request.path[root.size()] == '/')
      request.path.erase(0, root.size());
  }
  check_host(request, authority, version);

  Admission out;
  std::string allow;
  out.route = router_.find(request.method, request.path, request.parameters, allow);
  if (request.method == "OPTIONS" && !out.route) {
    if (allow.empty() && request.path != "*")
      throw HttpError(404, fmt::format("no such path: {}", request.path));
    out.headers = options_answer(request, allow);
    return out;
  }
  if (!out.route && allow.empty())
    throw HttpError(404, fmt::format("no such path: {}", request.path));
  if (!out.route) {
    HttpError error(
        405, fmt::format("{} is not for {}; expected {}", request.method, request.path, allow));
    error.headers.emplace_back("Allow", allow + ", OPTIONS");
    throw error;
  }
  if (!out.route->is_public) check_key(request);
  if (!has_body) return out;
  const std::string encoding = to_lower(trim(request.header("content-encoding")));
  if (!encoding.empty() && encoding != "identity")
    throw HttpError(415, fmt::format("the body's Content-Encoding is {}; expected none", encoding));
  const std::string_view type = request.header("content-type");
  if (request.method == "POST" && !is_json_type(type))
    throw HttpError(415, fmt::format("the body's Content-Type is {}; expected application/json",
                                     type.empty() ? "missing" : type));
  return out;
}

}  // namespace octet::serve
