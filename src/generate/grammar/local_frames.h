#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "generate/grammar/configurations.h"

namespace octet::generate::grammar {

/// Frames of what begins at one place of a text, while that is still being found out. They may
/// refer to each other, in circles where a rule begins with itself. Then those that are needed are
/// interned.
class LocalFrames {
 public:
  /// Set in the numbers of local frames, which otherwise look like others.
  static constexpr std::uint32_t kLocal = 0x80000000;

  explicit LocalFrames(Configurations& owner) : owner_(owner) {}
  void clear();
  /// The frame of what begins there, kLocal included; true if it is new. label: one for each rule
  /// and each counted part.
  std::pair<std::uint32_t, bool> at(std::uint32_t label);
  /// The rule of `frame` goes on there when it ends.
  void add(std::uint32_t frame, Edge edge) { locals_[frame & ~kLocal].edges.push_back(edge); }
  /// It goes on wherever that of `other` does (a tail call).
  void add_all(std::uint32_t frame, std::uint32_t other);
  /// Interns the frames of some items, and those below; leaves out items and edges that add no
  /// text, because others of the same place have all that they have. False: that took too much
  /// work.
  bool intern(std::vector<Item>& items, std::uint64_t end_work);
  /// Leaves out items for which another of the same place has a frame with all that theirs has.
  void drop_redundant(std::vector<Item>& items) const;

 private:
  struct Local {
    std::uint32_t label;
    std::vector<Edge> edges;
    std::vector<std::uint32_t> as;  // locals whose edges this one has, too
    std::uint32_t interned = 0;
  };
  void collect(std::uint32_t local, std::uint64_t end_work);
  void collect_one(std::uint32_t local);
  std::span<const Edge> edges_of(std::uint32_t frame) const;
  std::vector<Edge> reduced(const std::vector<Edge>& edges);
  std::vector<std::uint32_t> needed_by(const std::vector<Item>& items, std::uint64_t end_work);
  void intern(const std::vector<std::uint32_t>& needed);
  void intern_circles(const std::vector<std::uint32_t>& members,
                      const std::vector<std::vector<std::uint32_t>>& children);
  void intern_one(std::uint32_t local);

  Configurations& owner_;
  std::vector<Local> locals_;
  std::unordered_map<std::uint32_t, std::uint32_t> by_label_;
};

}  // namespace octet::generate::grammar
