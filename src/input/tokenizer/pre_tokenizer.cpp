#include "input/tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "input/tokenizer/unicode.h"
#include "runtime/base/error.h"

namespace octet::tokenizer {

namespace {
std::string message(int code) {
  PCRE2_UCHAR8 text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}
}  // namespace

struct PreTokenizer::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

PreTokenizer::PreTokenizer(const std::string& pattern) : code_(std::make_unique<Code>()) {
  const std::string explicit_pattern = with_explicit_classes(pattern);
  int error = 0;
  PCRE2_SIZE at = 0;
  code_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(explicit_pattern.data()), explicit_pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &at, nullptr);
  if (!code_->code)
    fail(ErrorCode::bad_data, "the pre-tokenizer's expression doesn't compile: {}: {}",
         message(error), pattern);
  // Where executable memory is forbidden this fails, and the interpreter does the same work.
  (void)pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;

void PreTokenizer::split(std::string_view text,
                         const std::function<void(std::string_view)>& piece) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::size_t begin = 0;  // of what has not been handed out
  for (std::size_t at = 0; at < text.size();) {
    const int result = pcre2_match(code_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                                   match.get(), nullptr);
    if (result == PCRE2_ERROR_NOMATCH) break;
    OCTET_CHECK(result >= 0, "the pre-tokenizer gave up at byte {} of {}: {}", at, text.size(),
                message(result));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
    if (ends[0] > begin) piece(text.substr(begin, ends[0] - begin));
    if (ends[1] > ends[0]) piece(text.substr(ends[0], ends[1] - ends[0]));
    begin = ends[1];
    at = ends[1];
    // An empty match: go on behind the next character.
    if (ends[1] == ends[0] && at < text.size()) next_code_point(text, at);
  }
  if (begin < text.size()) piece(text.substr(begin));
}

}  // namespace octet::tokenizer
