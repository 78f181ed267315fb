#pragma once

#include <cstdlib>

#include "serve/api/body.h"
#include "serve/api/request_context.h"

namespace octet::fuzz {

// The readers ask a tokenizer for prompts and bad words.
inline const tokenizer::Tokenizer& tiny_tokenizer() {
  static const auto t = tokenizer::Tokenizer::load(
      std::getenv("OCTET_TINY") ? std::getenv("OCTET_TINY") : "models/tiny");
  return t;
}

// What a server of models/tiny tells its readers.
inline serve::RequestContext tiny_context() {
  static const serve::ServiceOptions options;
  static const checkpoint::GenerationConfig defaults;
  return {options, defaults, tiny_tokenizer(), tiny_tokenizer().size(), 4096, 16};
}

// The input as a body; null if it is no JSON.
inline json::value body_of(const std::uint8_t* data, std::size_t size) {
  try {
    return serve::parse_request_json({reinterpret_cast<const char*>(data), size});
  } catch (const serve::HttpError&) {
    return nullptr;
  }
}

// Read, or refused with an error of the client's.
template <typename Read>
void refused_at_most(const Read& read) {
  try {
    read();
  } catch (const serve::HttpError& e) {
    if ((e.status() < 400 || e.status() >= 500) && e.status() != 501) std::abort();
  }
}

}  // namespace octet::fuzz
