#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace octet::chat_template {

enum class TokenKind {
  data,            ///< text to be printed
  variable_begin,  ///< {{
  variable_end,
  block_begin,  ///< {%
  block_end,
  name,
  string,  ///< text is unescaped
  integer,
  floating,
  op,  ///< text is the operator
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;
  int line = 1;
};

/// Cuts a template into tokens, with trim_blocks and lstrip_blocks on, as transformers sets the
/// environment. Errors: bad_data with template name and line.
std::vector<Token> tokenize(std::string_view source, const std::string& template_name);

}  // namespace octet::chat_template
