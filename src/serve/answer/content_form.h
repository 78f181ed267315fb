#pragma once

#include "input/chat_template/chat_template.h"

namespace octet::serve {

/// What a template gets as a message's content, whatever the client sent: vLLM's
/// --chat-template-content-format.
enum class ContentForm {
  text,   ///< a string; texts of several parts have line breaks between them
  parts,  ///< a list of {"type": "text", "text": ...}, also of a string
};

/// What a template takes: parts if it writes their texts wherever it would write a string's, else
/// text. Found out by rendering short conversations, a few milliseconds at most: how a template
/// walks a list (a macro, a filter) doesn't matter.
ContentForm find_content_form(const chat_template::ChatTemplate& chat_template);

}  // namespace octet::serve
