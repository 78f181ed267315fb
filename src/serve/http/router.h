#pragma once

#include <functional>
#include <string>
#include <vector>

#include "serve/http/exchange.h"

namespace octet::serve {

using Handler = std::function<void(ExchangePtr)>;

/// Where a request goes. Handlers run on the I/O thread unless the route says `worker`: then on one
/// of the server's workers, because they parse, render or tokenize.
struct Route {
  std::string method;   ///< "POST"
  std::string pattern;  ///< "/v1/models/{}": {} matches the rest of the path, slashes included
  Handler handler;
  bool is_public = false;  ///< needs no key
  bool worker = false;
  std::string name;  ///< for metrics; empty: the pattern
};

/// Which dialect a path's errors are written in.
enum class Dialect { openai, anthropic };
Dialect dialect_of(std::string_view path);

/// Routes by path and method. Immutable after the server started.
class Router {
 public:
  void add(Route route);
  /// The route, or null; `allow` gets the methods that the path knows ("GET, POST"), empty if the
  /// path is unknown. HEAD is answered as GET is, OPTIONS by the server.
  const Route* find(std::string_view method, std::string_view path,
                    std::vector<std::string>& parameters, std::string& allow) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace octet::serve
