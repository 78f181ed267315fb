#include "serve/api/metrics_route.h"

namespace octet::serve {

bool accepts_open_metrics(std::string_view accept) {
  constexpr std::string_view kName = "application/openmetrics-text";
  const std::size_t at = accept.find(kName);
  if (at == std::string_view::npos) return false;
  // Its parameters end at the next comma; only ";q=0" takes it back.
  std::string_view parameters = accept.substr(at + kName.size());
  parameters = parameters.substr(0, parameters.find(','));
  const std::size_t quality = parameters.find("q=0");
  return quality == std::string_view::npos ||
         parameters.find_first_of("123456789", quality) != std::string_view::npos;
}

void handle_metrics(Service& service, const HttpStatus& http, const ExchangePtr& exchange) {
  const bool open = accepts_open_metrics(exchange->request().header("accept"));
  exchange->respond(200,
                    open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                         : "text/plain; version=0.0.4; charset=utf-8",
                    service.metrics().text(service.engine().status(), http, open));
}

}  // namespace octet::serve
