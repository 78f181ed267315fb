// input/chat_template: a subset of Jinja, as transformers runs it, and chat prompts made with it.
// Knows no tokens and no model.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "input/chat_template/ast.h"
#include "input/chat_template/evaluator.h"
#include "runtime/base/error.h"

namespace octet::chat_template {

/// raise_exception of a template: its message is meant for whoever wrote the messages.
class TemplateRaised : public Error {
 public:
  TemplateRaised(const std::string& template_name, const std::string& message)
      : Error(ErrorCode::invalid_argument, template_name + ": " + message), message_(message) {}
  const std::string& message() const { return message_; }

 private:
  std::string message_;
};

/// A stretch of rendered text and whether it came from the data.
struct Span {
  std::string text;
  bool from_user = false;
};

/// A parsed template; constant, threads may share it.
class Template {
 public:
  /// Errors: bad_data with name and line.
  static Template parse(const std::string& source, const std::string& name);

  /// Errors: invalid_argument with name and line (TemplateRaised for raise_exception); limits too.
  std::string render(const json::object& context, const Limits& limits = {}) const;
  /// The same text in pieces by origin. What the data contributed must not be read as special
  /// tokens.
  std::vector<Span> render_marked(const json::object& context, const Limits& limits = {}) const;

 private:
  std::string name_;
  std::shared_ptr<const Block> block_;
};

}  // namespace octet::chat_template
