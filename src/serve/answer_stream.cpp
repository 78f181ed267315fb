#include "serve/answer_stream.h"

#include <algorithm>
#include <utility>

namespace octet::serve {

namespace {

using Kind = AnswerEvent::Kind;

bool contains(const std::vector<std::int32_t>& sorted, std::int32_t id) {
  return std::ranges::binary_search(sorted, id);
}

// Pieces of the same text that follow each other become one.
void append(std::vector<AnswerEvent>& events, AnswerEvent event) {
  const bool text = event.kind == Kind::reasoning || event.kind == Kind::content ||
                    event.kind == Kind::tool_arguments;
  if (text && event.text.empty()) return;
  if (text && !events.empty() && events.back().kind == event.kind &&
      events.back().call == event.call)
    events.back().text += event.text;
  else
    events.push_back(std::move(event));
}

void append_all(std::vector<AnswerEvent>& events, std::vector<AnswerEvent> more) {
  for (AnswerEvent& event : more) append(events, std::move(event));
}

}  // namespace

AnswerStream::AnswerStream(const tokenizer::Tokenizer& tokenizer, AnswerStreamOptions options,
                           Emit emit)
    : o_(std::move(options)),
      emit_(std::move(emit)),
      decoder_(tokenizer, o_.skip_special_tokens),
      stops_(o_.stop, o_.include_stop),
      tracker_(o_.think_begin, o_.think_end, o_.parser.in_reasoning) {
  if (o_.parse) parser_.emplace(o_.parser);
}

// An answer's text is without what ended it, unless the client wants to see it.
std::string AnswerStream::text_of(std::int32_t id) {
  if (contains(o_.stop_token_ids, id) && !o_.include_stop) return {};
  // Special tokens are left out by the decoder, or wanted; but an end that doesn't end is no text.
  if (o_.ignore_eos && contains(o_.eos_ids, id)) return {};
  return decoder_.push(id);
}

void AnswerStream::parse(std::string_view text) {
  if (!parser_) {
    if (!text.empty()) fresh_.push_back({Kind::content, std::string(text), -1});
    return;
  }
  parser_->push(text, fresh_);
  if (parser_->in_reasoning())
    parser_thought_ = true;
  else if (std::exchange(parser_thought_, false) && o_.parser.parse_reasoning)
    tracker_.close();  // </think>, or a call without it
}

bool AnswerStream::push(const generate::TokenOutput& token) {
  ++tokens_;
  ++since_;
  const bool was_thinking = tracker_.thinking();
  if (tracker_.next(token.id)) ++reasoning_tokens_;
  waiting_.push_back(token);
  const std::string text = text_of(token.id);
  const bool unmatched =
      tokens_ <= o_.min_tokens || (!o_.stop_in_reasoning && (was_thinking || tracker_.thinking()));
  if (unmatched) {
    parse(stops_.flush());
    parse(text);
  } else {
    parse(stops_.push(text));
  }
  take_events(false);
  return !stops_.matched();
}

// Moves what the parser gave to what is to be emitted. A piece never holds reasoning and content.
void AnswerStream::take_events(bool last) {
  if (!o_.incremental && !last) append_all(whole_, std::exchange(fresh_, {}));
  taken_.clear();
  taken_.swap(fresh_);
  for (AnswerEvent& event : taken_) {
    if (event.kind == Kind::tool_begin) ++calls_;
    const bool other = !events_.empty() &&
                       (events_.front().kind == Kind::reasoning) != (event.kind == Kind::reasoning);
    if (other) flush();
    append(events_, std::move(event));
  }
  if (!events_.empty() || last || !o_.incremental) {
    gathered_.insert(gathered_.end(), std::make_move_iterator(waiting_.begin()),
                     std::make_move_iterator(waiting_.end()));
    waiting_.clear();
  }
  if ((events_.empty() && gathered_.empty()) || (!last && emitted_ && since_ < o_.interval)) return;
  flush();
}

void AnswerStream::flush() {
  if (events_.empty() && gathered_.empty()) return;
  emitted_ = true;
  since_ = 0;
  // Lists keep their memory, for this is done for every token; and what was told once is not told
  // again if emit_ throws.
  told_events_.clear();
  told_tokens_.clear();
  told_events_.swap(events_);
  told_tokens_.swap(gathered_);
  emit_(told_events_, told_tokens_);
}

void AnswerStream::finish(bool truncated) {
  if (!stops_.matched()) {
    if (const std::string tail = decoder_.flush(); !tail.empty()) parse(stops_.push(tail));
    if (!stops_.matched()) parse(stops_.flush());
  }
  if (parser_) parser_->finish(truncated, fresh_);
  if (!o_.incremental) {
    append_all(whole_, std::exchange(fresh_, {}));
    if (parser_) show_open_call(*parser_, whole_);
    fresh_ = std::exchange(whole_, {});
  }
  take_events(true);
}

}  // namespace octet::serve
