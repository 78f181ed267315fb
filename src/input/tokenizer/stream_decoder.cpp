#include "input/tokenizer/stream_decoder.h"

#include <utility>

#include "input/tokenizer/unicode.h"

namespace octet::tokenizer {

std::string StreamDecoder::push(std::int32_t id) {
  if (!skip_special_ || !tokenizer_->is_special(id)) pending_ += tokenizer_->bytes(id);
  return ends_inside_character(pending_) ? std::string() : flush();
}

std::string StreamDecoder::flush() {
  return to_valid_utf8(std::exchange(pending_, {}));
}

}  // namespace octet::tokenizer
