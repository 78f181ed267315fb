#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "serve/http/exchange.h"

namespace octet::serve {

std::string_view reason_phrase(int status);

struct ResponseHead {
  int status = 200;
  std::string_view content_type;              ///< empty: none
  std::optional<std::size_t> content_length;  ///< absent: chunked, or until the end
  bool chunked = false, keep_alive = true, http10 = false;
};
/// The head as it is sent, blank line included. What a value must not hold (line breaks, zero
/// bytes) becomes a blank, a name that is no name is left out.
std::string response_head(const ResponseHead& head, std::string_view request_id,
                          const Headers& headers, const Headers& more = {});

}  // namespace octet::serve
