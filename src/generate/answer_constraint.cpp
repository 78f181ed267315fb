#include "generate/answer_constraint.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "runtime/base/error.h"

namespace octet::generate {
namespace {

/// Accepts that can be taken back.
constexpr std::size_t kMaxRollback = 16;
/// Line breaks (tokens) that may stand between the think block and the content: an end to line
/// breaks that a model can't find out of.
constexpr int kMaxGapTokens = 4;

enum class Phase {
  start,     ///< nothing yet, or only line breaks: a think block may begin
  thinking,  ///< inside the block
  closing,   ///< the forced end of the block
  gap,       ///< right after the block
  content,
};

struct Position {
  Phase phase = Phase::content;
  std::int64_t thought = 0;    ///< tokens inside the block
  std::size_t closing_at = 0;  ///< of the forced tokens
  int gap = 0;                 ///< line breaks since the block
};

class AnswerConstraint final : public TokenConstraint {
 public:
  explicit AnswerConstraint(const AnswerForm& form) : form_(form) {
    closing_ = form.before_think_end;
    closing_.push_back(form.think_end);
    closing_.insert(closing_.end(), form.after_think_end.begin(), form.after_think_end.end());
    if (form.content) matcher_.emplace(form.content);
    if (form.content && form.content_in_reasoning)
      now_.phase = Phase::content;
    else if (form.thinking && form.think_end >= 0)
      now_.phase = Phase::thinking;
    else
      now_.phase = Phase::start;
  }

  std::optional<std::int32_t> forced() override {
    if (now_.phase == Phase::thinking && must_close()) {
      now_.phase = Phase::closing;
      now_.closing_at = 0;
    }
    if (now_.phase != Phase::closing) return std::nullopt;
    return closing_[now_.closing_at];
  }

  bool fill_mask(std::span<std::uint32_t> mask) override {
    if (const auto id = forced()) {
      std::ranges::fill(mask, 0u);
      allow(mask, *id);
      return true;
    }
    if (!matcher_) return false;
    if (now_.phase == Phase::thinking) {
      // An answer that ends while it is thinking has no content.
      for (const std::int32_t id : form_.stop_ids)
        if (in(mask, id)) mask[word(id)] &= ~bit(id);
      return !form_.stop_ids.empty();
    }
    const bool any = matcher_->fill_mask(mask);
    const bool in_gap = now_.phase == Phase::gap && now_.gap < kMaxGapTokens;
    if (in_gap)
      for (const std::int32_t id : form_.newlines) allow(mask, id);
    const bool before_block = now_.phase == Phase::start && may_think();
    if (before_block) allow(mask, form_.think_begin);
    if (!any && !before_block && !(in_gap && !form_.newlines.empty())) fail_grammar();
    return true;
  }

  void accept(std::int32_t id) override {
    if (history_.size() == kMaxRollback) history_.pop_front();
    Step& step = history_.emplace_back();
    step.before = now_;
    switch (now_.phase) {
      case Phase::start:
        if (may_think() && id == form_.think_begin) {
          // Line breaks before the block are no content.
          if (matcher_) {
            step.matcher = std::move(matcher_);
            matcher_.emplace(form_.content);
          }
          now_ = {.phase = Phase::thinking};
          return;
        }
        if (!is_newline(id)) now_.phase = Phase::content;
        accept_content(step, id);
        return;
      case Phase::closing:
        if (id == closing_[now_.closing_at]) {
          if (++now_.closing_at == closing_.size()) now_ = {.phase = Phase::gap};
          return;
        }
        // Not what was asked for: a thought like others, and the end is asked for again.
        now_.phase = Phase::thinking;
        [[fallthrough]];
      case Phase::thinking:
        if (id == form_.think_end)
          now_ = {.phase = Phase::gap};
        else if (id == form_.tool_call_begin && id >= 0 && matcher_ && matcher_->accept(id)) {
          step.matched = true;
          now_ = {.phase = Phase::content};
        } else {
          ++now_.thought;
        }
        return;
      case Phase::gap:
        if (is_newline(id) && now_.gap < kMaxGapTokens) {
          ++now_.gap;
          return;
        }
        now_.phase = Phase::content;
        accept_content(step, id);
        return;
      case Phase::content:
        accept_content(step, id);
        return;
    }
  }

  void rollback(int tokens) override {
    OCTET_CHECK(tokens >= 0 && static_cast<std::size_t>(tokens) <= history_.size(),
                "rollback of {} tokens, {} are known", tokens, history_.size());
    int matched = 0;
    for (; tokens > 0; --tokens) {
      Step& step = history_.back();
      matched += step.matched;
      if (step.matcher) {
        // The matcher of the content after the block has gone back to its beginning by now.
        matcher_ = std::move(step.matcher);
        matched = 0;
      }
      now_ = step.before;
      history_.pop_back();
    }
    if (matched > 0) matcher_->rollback(matched);
  }

 private:
  struct Step {
    Position before;
    bool matched = false;                            ///< the matcher took the token in
    std::optional<grammar::GrammarMatcher> matcher;  ///< as it was before a think block began
  };

  static std::size_t word(std::int32_t id) { return static_cast<std::size_t>(id) / 32; }
  static std::uint32_t bit(std::int32_t id) { return 1u << (static_cast<std::uint32_t>(id) % 32); }
  static bool in(std::span<std::uint32_t> mask, std::int32_t id) {
    return id >= 0 && word(id) < mask.size();
  }
  static void allow(std::span<std::uint32_t> mask, std::int32_t id) {
    if (in(mask, id)) mask[word(id)] |= bit(id);
  }

  bool may_think() const { return form_.think_begin >= 0 && form_.think_end >= 0; }
  bool is_newline(std::int32_t id) const {
    return std::ranges::find(form_.newlines, id) != form_.newlines.end();
  }
  bool must_close() const {
    return (form_.thinking_budget >= 0 && now_.thought >= form_.thinking_budget) ||
           (form_.end_thinking && form_.end_thinking->load(std::memory_order_relaxed));
  }
  /// A token that ends the answer may be unknown to the grammar. Any other that it doesn't take was
  /// allowed by a mask and lies beyond the matcher's limits: an answer that went on would go
  /// astray.
  void accept_content(Step& step, std::int32_t id) {
    step.matched = matcher_ && matcher_->accept(id);
    if (matcher_ && !step.matched && std::ranges::find(form_.stop_ids, id) == form_.stop_ids.end())
      fail_grammar();
  }
  [[noreturn]] static void fail_grammar() {
    fail(ErrorCode::invalid_argument,
         "the grammar can't be followed any further: it is too ambiguous, or nests too deeply, for "
         "this server's limits; make it smaller or less ambiguous");
  }

  AnswerForm form_;
  std::vector<std::int32_t> closing_;  // what ends a block by force
  std::optional<grammar::GrammarMatcher> matcher_;
  Position now_;
  std::deque<Step> history_;
};

}  // namespace

std::unique_ptr<TokenConstraint> make_answer_constraint(const AnswerForm& form) {
  const bool limits_thinking = form.think_end >= 0 && (form.thinking || form.think_begin >= 0) &&
                               (form.thinking_budget >= 0 || form.end_thinking);
  if (!form.content && !limits_thinking) return nullptr;
  return std::make_unique<AnswerConstraint>(form);
}

}  // namespace octet::generate
