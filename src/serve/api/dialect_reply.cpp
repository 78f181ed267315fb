#include "serve/api/dialect_reply.h"

namespace octet::serve {

bool keeps_up(const Exchange& exchange, std::size_t queue_bytes) {
  return exchange.closed() || exchange.queued_bytes() <= queue_bytes;
}

}  // namespace octet::serve
