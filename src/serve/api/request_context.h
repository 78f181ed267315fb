#pragma once

#include <cstdint>

#include "checkpoint/config.h"
#include "input/tokenizer/tokenizer.h"
#include "serve/service.h"

namespace octet::serve {

/// What readers of requests need to know of the server.
struct RequestContext {
  const ServiceOptions& options;
  const checkpoint::GenerationConfig& defaults;
  const tokenizer::Tokenizer& tokenizer;
  std::int64_t vocab_size = 0, max_model_len = 0, max_sequences = 1;
};
inline RequestContext context_of(Service& s) {
  return {s.options(),    s.defaults(),      s.tokenizer(),
          s.vocab_size(), s.max_model_len(), s.engine().options().max_sequences};
}

}  // namespace octet::serve
