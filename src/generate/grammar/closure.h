#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "generate/grammar/configurations.h"
#include "generate/grammar/local_frames.h"

namespace octet::generate::grammar {

/// Follows everything that reads no byte, from some places, and makes a configuration of where that
/// leads. Rules that begin here get frames; those are finished before any of them returns, since a
/// rule that returns before it has read a byte is stepped over where it is called.
class Closure {
 public:
  explicit Closure(Configurations& owner)
      : owner_(owner), program_(owner.program_), locals_(owner) {}

  void clear();
  void go_on(std::uint32_t pc, std::uint32_t frame);
  void inside(Item item) { items_.push_back(item); }
  /// The rest of a text, from where edge says.
  void go_on(const Edge& edge);
  /// dead() if there is nothing, or too much.
  Configuration* finish();

 private:
  void follow(std::uint32_t pc, std::uint32_t frame);
  void enter(std::uint32_t pc, std::uint32_t lo, std::uint32_t hi, std::uint32_t frame);
  std::uint32_t begin(std::uint32_t label, std::uint32_t pc);

  Configurations& owner_;
  const Program& program_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> todo_;
  std::unordered_set<std::uint64_t> seen_;
  std::vector<Item> items_;
  bool may_end_ = false, escaped_ = false;
  LocalFrames locals_;
  std::uint64_t end_work_ = 0;
};

}  // namespace octet::generate::grammar
