#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/answer/answer_parser.h"

namespace octet::serve {

/// A part of an answer as Anthropic's and the Responses API have it: one follows the other.
struct AnswerBlock {
  enum class Kind { reasoning, text, call };
  Kind kind = Kind::text;
  int index = 0;     ///< of the block within the answer
  std::string id;    ///< of the item, made by the writer
  std::string name;  ///< of the function
  std::string text;  ///< what came so far: reasoning, text or the arguments' JSON
  bool complete = false;
};

/// Brings events into blocks that are strictly sequential. Threads: one at a time.
class AnswerBlocks {
 public:
  enum class Step { begin, piece, end };
  /// piece: what was added (it is in the block's text already); empty but for Step::piece. A writer
  /// may give the block an id at `begin`.
  using Change = std::function<void(Step step, AnswerBlock& block, std::string_view piece)>;

  explicit AnswerBlocks(Change change) : change_(std::move(change)) {}
  void push(const std::vector<AnswerEvent>& events);
  /// The answer is over. Ends the open block; truncated: without completing it.
  void finish(bool truncated);
  /// The kind of the open block.
  std::optional<AnswerBlock::Kind> open() const;

 private:
  void begin(AnswerBlock::Kind kind, std::string_view name);
  void add(AnswerBlock::Kind kind, std::string_view piece);
  void end(bool complete);

  Change change_;
  std::optional<AnswerBlock> current_;
  int count_ = 0;
};

}  // namespace octet::serve
