#pragma once

#include <cstddef>

#include "serve/http/exchange.h"

namespace octet::serve {

/// May the answer go on, by what the client has not taken yet? One that is gone holds up nothing.
bool keeps_up(const Exchange& exchange, std::size_t queue_bytes);

}  // namespace octet::serve
