// Any bytes as a request of the Messages and the Responses API: read, or refused with an HttpError
// of the client's.
#include <cstdlib>

#include "serve/api/body.h"
#include "serve/api/messages_request.h"
#include "serve/api/responses_request.h"

namespace {

// The readers ask a tokenizer for bad words only.
const octet::tokenizer::Tokenizer& tokenizer() {
  static const auto t = octet::tokenizer::Tokenizer::load(
      std::getenv("OCTET_TINY") ? std::getenv("OCTET_TINY") : "models/tiny");
  return t;
}

template <typename Read>
void refused_at_most(const Read& read) {
  try {
    read();
  } catch (const octet::serve::HttpError& e) {
    if (e.status() < 400 || e.status() >= 500 + (e.status() == 501 ? 2 : 0)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octet::serve;
  static const ServiceOptions options;
  static const octet::checkpoint::GenerationConfig defaults;
  const RequestContext context{options, defaults, tokenizer(), tokenizer().size(), 4096, 16};
  octet::json::value body;
  try {
    body = parse_request_json({reinterpret_cast<const char*>(data), size});
  } catch (const HttpError&) {
    return 0;
  }
  refused_at_most([&] { read_messages_request(body, context, false); });
  refused_at_most([&] { read_messages_request(body, context, true); });
  refused_at_most([&] { read_responses_request(body, context); });
  return 0;
}
