// What a matcher can be in, as numbered objects that are equal only if they are the same: then a
// byte's effect on one is computed once and looked up ever after, as in a lazily built DFA. The
// stacks of an ambiguous or deep text share their parts.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "generate/grammar/program.h"

namespace octet::generate::grammar {

/// What a finished rule goes on with: at `pc`, for whoever `parent` is the stack of. With kLoop the
/// pc is a counted instruction, of which lo to hi repetitions were complete when this one began.
struct Edge {
  std::uint32_t pc = 0;
  std::uint32_t parent = 0;
  std::uint32_t lo = 0, hi = 0;
  auto operator<=>(const Edge&) const = default;
};
inline constexpr std::uint32_t kLoop = 0x80000000, kEnd = 0x7FFFFFFF, kUnknown = 0x7FFFFFFE;

/// A place in the grammar: inside the terminal of instruction pc, in the automaton's state `state`,
/// on the stack `frame`.
struct Item {
  std::uint32_t pc = 0, state = 0, frame = 0;
  auto operator<=>(const Item&) const = default;
};

struct MaskEntry;

/// All places where a text may be at once. A text is in the language if may_end.
struct Configuration {
  std::vector<Item> items;  ///< sorted
  bool may_end = false;
  bool escaped = false;  ///< some place lies beyond what a cut stack says
  bool mask_used = false;
  std::unique_ptr<Configuration*[]> next;  ///< by byte class; null: not known yet
  std::shared_ptr<const MaskEntry> mask;
  std::array<Configuration*, 2> cut{};  ///< by kind of cut; null: not made yet
};

class Closure;

/// Interned stacks and configurations of one program. Grows until it is thrown away whole (bytes()
/// says when); import() carries over what is still needed.
/// Not thread-safe.
class Configurations {
 public:
  /// Rules inside each other in a text. JSON this deep is nonsense, and stacks are memory and time.
  static constexpr std::uint32_t kMaxDepth = 1 << 14;

  /// longest_token: bytes, for cut().
  Configurations(const Program& program, std::uint32_t longest_token);
  ~Configurations();

  Configuration* start() { return start_; }
  Configuration* dead() { return dead_; }
  /// In the language, and nothing follows: after a stop token.
  Configuration* stopped() { return stopped_; }
  /// After one byte; dead() if it can't come, or if it would lead into more places than are kept
  /// (a grammar so ambiguous, or nested so deeply, that its texts are refused).
  Configuration* step(Configuration* from, std::uint8_t byte) {
    const auto byte_class = program_.byte_class[byte];
    Configuration* to = from->next[byte_class];
    return to ? to : make_step(from, byte_class);
  }
  /// The same with every stack cut to its top frames, few (kind 0) or some more (1), and with
  /// counters told apart only where a token could reach their limits: many configurations have one
  /// cut, whose mask says most of theirs. Itself where nothing can be cut.
  Configuration* cut(Configuration* from, int kind);
  /// The equals of another's, in the same order; empty if work() gets beyond end_work.
  std::vector<Configuration*> import(const Configurations& other,
                                     const std::vector<Configuration*>& from,
                                     std::uint64_t end_work);

  /// Sorted. Valid until another frame is interned.
  std::span<const Edge> edges(std::uint32_t frame) const {
    return std::span(edges_).subspan(frames_[frame].begin, frames_[frame].count);
  }
  std::size_t bytes() const { return bytes_; }
  /// Work done so far, in places looked at: about ten nanoseconds each.
  std::uint64_t work() const { return work_; }
  /// From here on step() and cut() may do so much more together. What is known already is free.
  /// Beyond it they throw invalid_argument; everything stays usable.
  void limit_work(std::uint64_t more) { end_work_ = work_ + more; }
  /// Counts work of a caller.
  void add_work(std::uint64_t more) { work_ += more; }

 private:
  friend class Closure;
  friend class LocalFrames;
  struct Frame {
    std::uint32_t begin = 0, count = 0;  // of edges_
    std::uint32_t depth = 0;
    std::uint32_t group = 0, group_size = 1;  // frames that refer to each other in circles
  };

  /// edges: sorted, parents interned.
  std::uint32_t intern_frame(std::span<const Edge> edges);
  /// Frames that refer to each other: a parent with kLoop set is one of the group. Returns the
  /// first's number.
  std::uint32_t intern_group(const std::vector<std::vector<Edge>>& group);
  Configuration* intern(std::vector<Item> items, bool may_end, bool escaped);
  Configuration* make_step(Configuration* from, std::uint8_t byte_class);
  void check_work() const {
    if (work_ > end_work_) [[unlikely]]
      fail_work();
  }
  [[noreturn]] void fail_work() const;
  Edge cut_edge(Edge edge, int frames);
  std::uint32_t cut_frame(std::uint32_t frame, int frames);

  const Program& program_;
  std::uint32_t longest_token_;
  std::vector<Frame> frames_;
  std::vector<Edge> edges_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> frame_index_;
  std::deque<Configuration> configurations_;
  std::unordered_multimap<std::uint64_t, Configuration*> index_;
  std::unordered_map<std::uint64_t, std::uint32_t> cut_frames_;
  Configuration *start_ = nullptr, *dead_ = nullptr, *stopped_ = nullptr;
  std::unique_ptr<Closure> closure_;
  std::size_t bytes_ = 0;
  std::uint64_t work_ = 0, end_work_ = std::numeric_limits<std::uint64_t>::max();
};

}  // namespace octet::generate::grammar
