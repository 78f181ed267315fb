#pragma once

#include <span>
#include <string>
#include <vector>

#include "generate/token_output.h"
#include "input/tokenizer/tokenizer.h"
#include "runtime/base/json.h"

namespace octet::serve {

/// How tokens and their log-probabilities look in OpenAI's responses. serving.md §5.1.
class TokenText {
 public:
  /// as_ids: tokens are written `token_id:123`.
  TokenText(const tokenizer::Tokenizer& tokenizer, bool as_ids)
      : tokenizer_(tokenizer), as_ids_(as_ids) {}

  /// The token's text; U+FFFD for what is no character alone.
  std::string text(std::int32_t id) const;
  /// {"token", "logprob", "bytes", "top_logprobs"}.
  json::object chat_item(const generate::TokenOutput& token) const;
  /// Of one position of a prompt: {"123": {"logprob", "rank", "decoded_token"}, ...}.
  json::object prompt_item(const generate::TokenOutput& token) const;
  /// [null, item, ...].
  json::array prompt_items(std::span<const generate::TokenOutput> tokens) const;

 private:
  json::object entry(const generate::TokenLogprob& t) const;
  const tokenizer::Tokenizer& tokenizer_;
  bool as_ids_;
};

/// As JSON can hold it: below -9999 is -9999.
double finite_logprob(float logprob);

/// logprobs of /v1/completions as they grow.
struct CompletionLogprobs {
  json::array text_offset, token_logprobs, tokens, top_logprobs;
  std::int64_t offset = 0;  ///< characters so far

  /// has_logprob false: null (the prompt's first token).
  void add(const TokenText& text, const generate::TokenOutput& token);
  json::object take();
};

}  // namespace octet::serve
