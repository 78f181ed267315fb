#include "serve/api/answer_blocks.h"

#include <utility>

namespace octet::serve {

using Kind = AnswerBlock::Kind;

std::optional<Kind> AnswerBlocks::open() const {
  return current_ ? std::optional(current_->kind) : std::nullopt;
}

void AnswerBlocks::push(const std::vector<AnswerEvent>& events) {
  for (const AnswerEvent& event : events) {
    switch (event.kind) {
      case AnswerEvent::Kind::reasoning:
        add(Kind::reasoning, event.text);
        break;
      case AnswerEvent::Kind::content:
        add(Kind::text, event.text);
        break;
      case AnswerEvent::Kind::tool_begin:
        begin(Kind::call, event.text);
        break;
      case AnswerEvent::Kind::tool_arguments:
        if (open() == Kind::call) add(Kind::call, event.text);
        break;
      case AnswerEvent::Kind::tool_end:
        if (open() == Kind::call) end(true);
        break;
    }
  }
}

void AnswerBlocks::finish(bool truncated) {
  end(!truncated);
}

void AnswerBlocks::begin(Kind kind, std::string_view name) {
  end(true);
  current_.emplace();
  current_->kind = kind;
  current_->index = count_++;
  current_->name = name;
  change_(Step::begin, *current_, {});
}

void AnswerBlocks::add(Kind kind, std::string_view piece) {
  if (piece.empty()) return;
  if (open() != kind) begin(kind, {});
  current_->text += piece;
  change_(Step::piece, *current_, piece);
}

void AnswerBlocks::end(bool complete) {
  if (!current_) return;
  current_->complete = complete;
  change_(Step::end, *current_, {});
  current_.reset();
}

}  // namespace octet::serve
