#pragma once

#include <cstdint>

namespace octet::serve {

/// Which tokens of an answer are thinking, told from the tokens alone: from the think block's start
/// (or the prompt's end, if that leaves one open) to </think>, both included. serving.md §5, §12.1.
class ThinkTracker {
 public:
  /// Ids of <think> and </think>; -1: the vocabulary has none. open: the prompt leaves a block
  /// open.
  ThinkTracker(std::int32_t begin, std::int32_t end, bool open)
      : begin_(begin), end_(end), thinking_(open) {}

  /// Takes the next token in: does it belong to the thinking?
  bool next(std::int32_t id) {
    if (!thinking_ && !said_ && id == begin_ && id >= 0) thinking_ = true;
    const bool part = thinking_;
    if (part && id == end_) thinking_ = false;
    if (!part) said_ = true;
    return part;
  }
  /// After what was taken in.
  bool thinking() const { return thinking_; }
  /// A call began without </think> (serving.md §12.2).
  void close() { thinking_ = false; }

 private:
  std::int32_t begin_, end_;
  bool thinking_, said_ = false;
};

}  // namespace octet::serve
