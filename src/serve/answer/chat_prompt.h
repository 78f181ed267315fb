#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "input/chat_template/chat_template.h"
#include "input/tokenizer/tokenizer.h"
#include "runtime/base/json.h"
#include "serve/answer/content_form.h"

namespace octet::serve {

/// Messages as a client sent them, in OpenAI's chat form, and what steers the template.
struct ChatInput {
  json::array messages;
  json::array tools;    ///< OpenAI's form; empty: none
  json::object kwargs;  ///< variables of the template, defaults and request merged
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

/// A prompt as the model sees it.
struct ChatPrompt {
  std::vector<std::int32_t> ids;
  std::string text;           ///< as rendered
  bool in_reasoning = false;  ///< a think block is open at its end (serving.md §12.1, from the ids)
  /// Numbers of tokens where a later request's prompt probably still agrees: the end of each user
  /// turn, the end of the tools' and system's part, where the generation prompt begins. Sorted.
  std::vector<std::int64_t> stable_points;
};

/// Checks messages as OpenAI's schema has them and brings them to what the template takes
/// (serving.md §3.3, §11.3): developer is system, later system messages become user turns,
/// `reasoning` is `reasoning_content`, arguments are mappings, contents are of one form.
/// strict: checks, makes mappings of arguments and strings of contents that must be, no more.
/// Errors: HttpError 400 with the path (`messages[2].content[0].type`).
json::array normalize_messages(const json::array& messages, bool strict,
                               ContentForm form = ContentForm::parts);

/// A prompt's tokens: special tokens are read where the template wrote them, never in what came
/// from the messages.
std::vector<std::int32_t> encode_prompt(const tokenizer::Tokenizer& tokenizer,
                                        const std::vector<chat_template::Span>& spans);

/// Renders and tokenizes normalized messages. What clients wrote never becomes a special token.
/// continue_final_message: the last message is the assistant's and stays open, as the template
/// writes it without the turn's end. Errors: HttpError 400 with the template's message.
ChatPrompt make_chat_prompt(const chat_template::ChatTemplate& chat_template,
                            const tokenizer::Tokenizer& tokenizer, const ChatInput& input);

}  // namespace octet::serve
