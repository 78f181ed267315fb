#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "generate/grammar/matcher.h"
#include "generate/token_constraint.h"

namespace octet::generate {

/// What an answer must look like, as tokens: thinking first, as long as its budget lasts, then the
/// grammar. serving.md §12.6, §14.
struct AnswerForm {
  std::int32_t think_begin = -1,
               think_end = -1;        ///< the single tokens of <think>, </think>; -1: none
  bool thinking = false;              ///< the prompt leaves a think block open
  std::int64_t thinking_budget = -1;  ///< tokens inside the block; -1: no limit, 0: closed at once
  /// Forced when the budget is used up, before and after think_end (a message and a newline; the
  /// blank line that the template writes).
  std::vector<std::int32_t> before_think_end, after_think_end;
  /// Of the content. Newlines right after the think block don't count. Null: free.
  std::shared_ptr<const grammar::CompiledGrammar> content;
  bool content_in_reasoning =
      false;  ///< the grammar holds from the first token on, thinking or not
  /// What begins a call by itself (<tool_call>). In a think block, if the content's grammar may begin
  /// with it, it ends the thinking without think_end. -1: none.
  std::int32_t tool_call_begin = -1;
  /// Tokens of nothing but line breaks: free between the think block and the content.
  std::vector<std::int32_t> newlines;
  /// Tokens that end an answer: with a content grammar they can't come while it is thinking.
  std::vector<std::int32_t> stop_ids;
  /// Set by anyone to end the thinking now; may be null.
  std::shared_ptr<const std::atomic<bool>> end_thinking;
};

/// Null if the form leaves everything free.
std::unique_ptr<TokenConstraint> make_answer_constraint(const AnswerForm& form);

}  // namespace octet::generate
