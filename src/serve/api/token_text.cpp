#include "serve/api/token_text.h"

#include <fmt/format.h>

#include <algorithm>

namespace octet::serve {

double finite_logprob(float logprob) {
  // Written so that a NaN is -9999 as well.
  return logprob >= -9999.0F ? static_cast<double>(logprob) : -9999.0;
}

std::string TokenText::text(std::int32_t id) const {
  if (as_ids_) return fmt::format("token_id:{}", id);
  return tokenizer_.decode(std::span(&id, 1));
}

json::object TokenText::entry(const generate::TokenLogprob& t) const {
  json::array bytes;
  for (const char c : tokenizer_.bytes(t.id)) bytes.emplace_back(static_cast<unsigned char>(c));
  return {
      {"token", text(t.id)}, {"logprob", finite_logprob(t.logprob)}, {"bytes", std::move(bytes)}};
}

json::object TokenText::chat_item(const generate::TokenOutput& token) const {
  json::object item = entry(token.chosen);
  json::array top;
  for (const auto& t : token.top) top.emplace_back(entry(t));
  item["top_logprobs"] = std::move(top);
  return item;
}

json::object TokenText::prompt_item(const generate::TokenOutput& token) const {
  json::object out;
  const auto add = [&](const generate::TokenLogprob& t) {
    out[std::to_string(t.id)] = {
        {"logprob", finite_logprob(t.logprob)}, {"rank", t.rank}, {"decoded_token", text(t.id)}};
  };
  if (token.has_logprob) add(token.chosen);
  for (const auto& t : token.top) add(t);
  return out;
}

json::array TokenText::prompt_items(std::span<const generate::TokenOutput> tokens) const {
  json::array out{nullptr};
  for (const auto& token : tokens) out.emplace_back(prompt_item(token));
  return out;
}

void CompletionLogprobs::add(const TokenText& text, const generate::TokenOutput& token) {
  const std::string piece = text.text(token.id);
  text_offset.emplace_back(offset);
  tokens.emplace_back(piece);
  if (token.has_logprob)
    token_logprobs.emplace_back(finite_logprob(token.chosen.logprob));
  else
    token_logprobs.emplace_back(nullptr);
  json::object top;
  // The token itself as well, however unlikely it was.
  if (token.has_logprob) top[piece] = finite_logprob(token.chosen.logprob);
  for (const auto& t : token.top) top[text.text(t.id)] = finite_logprob(t.logprob);
  if (token.has_logprob)
    top_logprobs.emplace_back(std::move(top));
  else
    top_logprobs.emplace_back(nullptr);
  offset += std::ranges::count_if(piece, [](unsigned char c) { return (c & 0xC0) != 0x80; });
}

json::object CompletionLogprobs::take() {
  return {{"text_offset", std::move(text_offset)},
          {"token_logprobs", std::move(token_logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(top_logprobs)}};
}

}  // namespace octet::serve
