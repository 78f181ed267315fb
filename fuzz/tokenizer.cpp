// Any bytes as text for the tiny tokenizer: decoding the ids gives valid text back, and the pieces
// of the stream decoder are the whole.
#include "input/tokenizer/tokenizer.h"

#include <cstdlib>

#include "input/tokenizer/stream_decoder.h"
#include "input/tokenizer/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto tokenizer = octet::tokenizer::Tokenizer::load(
      std::getenv("OCTET_TINY") ? std::getenv("OCTET_TINY") : "models/tiny");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto ids = tokenizer.encode(text);
  const std::string decoded = tokenizer.decode(ids);
  // Normalization may change text once, never twice.
  if (tokenizer.decode(tokenizer.encode(decoded)) != decoded) std::abort();
  octet::tokenizer::StreamDecoder stream(tokenizer);
  std::string joined;
  for (const auto id : ids) joined += stream.push(id);
  if (joined + stream.flush() != decoded) std::abort();
  return 0;
}
