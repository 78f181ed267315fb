#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "serve/api/body.h"
#include "serve/api/request_context.h"
#include "support/support.h"

namespace octet::test {

/// What a reader of requests sees of a server of models/tiny.
struct RequestWorld {
  serve::ServiceOptions options;
  checkpoint::GenerationConfig defaults;
  const tokenizer::Tokenizer& tokenizer = tiny_tokenizer();
  serve::RequestContext context() const {
    return {options, defaults, tokenizer, tokenizer.size(), 32768, 16};
  }
  static const tokenizer::Tokenizer& tiny_tokenizer() {
    static const auto t = tokenizer::Tokenizer::load(tiny_model());
    return t;
  }
};

/// The refusal of a call: its status and the field that it names. 0 if there was none.
struct Refusal {
  int status = 0;
  std::string param, message;
};
inline Refusal refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const serve::HttpError& e) {
    return {e.status(), e.param(), e.what()};
  }
  return {};
}

}  // namespace octet::test
