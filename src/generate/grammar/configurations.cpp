#include "generate/grammar/configurations.h"

#include <algorithm>

#include "generate/grammar/closure.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

// Frames that a cut stack keeps, by kind of cut. More: fewer tokens need a look at the real stack,
// but fewer stacks have the same cut. One is enough to share what a string may hold between all
// places that have strings; four, to share what may follow it between most.
constexpr std::array<int, 2> kCutFrames{1, 4};
constexpr std::uint32_t kRootFrame = 0, kUnknownFrame = 1;

// Mixed well enough for tables whose keys are compared.
std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15ULL;
  return hash ^ (hash >> 29);
}

std::uint64_t hash_edges(std::uint64_t hash, std::span<const Edge> edges) {
  for (const Edge& e : edges) {
    hash = mix(hash, (static_cast<std::uint64_t>(e.pc) << 32) | e.parent);
    hash = mix(hash, (static_cast<std::uint64_t>(e.lo) << 32) | e.hi);
  }
  return mix(hash, edges.size());
}

}  // namespace

Configurations::Configurations(const Program& program, std::uint32_t longest_token)
    : program_(program), longest_token_(longest_token), closure_(std::make_unique<Closure>(*this)) {
  const Edge end{.pc = kEnd}, unknown{.pc = kUnknown};
  OCTET_CHECK(intern_frame({&end, 1}) == kRootFrame, "frames");
  OCTET_CHECK(intern_frame({&unknown, 1}) == kUnknownFrame, "frames");
  dead_ = intern({}, false, false);
  stopped_ = intern({}, true, false);
  std::fill_n(dead_->next.get(), program_.class_byte.size(), dead_);
  std::fill_n(stopped_->next.get(), program_.class_byte.size(), dead_);
  closure_->clear();
  // The root's own frame: as if called by the end.
  closure_->go_on(program_.rules[program_.root].pc, kRootFrame);
  start_ = closure_->finish();
}

Configurations::~Configurations() = default;

std::uint32_t Configurations::intern_frame(std::span<const Edge> edges) {
  const auto hash = hash_edges(1, edges);
  for (auto [it, end] = frame_index_.equal_range(hash); it != end; ++it) {
    const auto& f = frames_[it->second];
    if (f.group_size == 1 && std::ranges::equal(this->edges(it->second), edges)) return it->second;
  }
  const auto number = static_cast<std::uint32_t>(frames_.size());
  Frame frame{.begin = static_cast<std::uint32_t>(edges_.size()),
              .count = static_cast<std::uint32_t>(edges.size()),
              .group = number};
  for (const Edge& e : edges)
    if (e.pc != kEnd && e.pc != kUnknown)
      frame.depth = std::max(frame.depth, frames_[e.parent].depth + 1);
  edges_.insert(edges_.end(), edges.begin(), edges.end());
  frames_.push_back(frame);
  frame_index_.emplace(hash, number);
  bytes_ += sizeof frame + edges.size_bytes() + 48;
  work_ += 1 + edges.size() / 4;
  return number;
}

std::uint32_t Configurations::intern_group(const std::vector<std::vector<Edge>>& group) {
  std::uint64_t hash = 2;
  for (const auto& edges : group) hash = hash_edges(hash, edges);
  // A stored group names its members by their numbers, a new one by their places.
  const auto same = [](const Edge& a, std::uint32_t first, const Edge& b) {
    const auto parent = (b.parent & kLoop) != 0 ? first + (b.parent & ~kLoop) : b.parent;
    return a == Edge{b.pc, parent, b.lo, b.hi};
  };
  const auto size = static_cast<std::uint32_t>(group.size());
  for (auto [it, end] = frame_index_.equal_range(hash); it != end; ++it) {
    const auto first = it->second;
    if (frames_[first].group_size != size || frames_[first].group != first) continue;
    bool equal = true;
    for (std::uint32_t i = 0; i < size && equal; ++i)
      equal = std::ranges::equal(edges(first + i), group[i],
                                 [&](const Edge& a, const Edge& b) { return same(a, first, b); });
    if (equal) return first;
  }
  const auto first = static_cast<std::uint32_t>(frames_.size());
  std::uint32_t depth = 0;
  for (const auto& edges : group)
    for (const Edge& e : edges)
      if ((e.parent & kLoop) == 0 && e.pc != kEnd && e.pc != kUnknown)
        depth = std::max(depth, frames_[e.parent].depth + 1);
  for (const auto& edges : group) {
    frames_.push_back({.begin = static_cast<std::uint32_t>(edges_.size()),
                       .count = static_cast<std::uint32_t>(edges.size()),
                       .depth = depth,
                       .group = first,
                       .group_size = size});
    for (Edge e : edges) {
      if ((e.parent & kLoop) != 0) e.parent = first + (e.parent & ~kLoop);
      edges_.push_back(e);
    }
    bytes_ += sizeof(Frame) + edges.size() * sizeof(Edge);
  }
  frame_index_.emplace(hash, first);
  bytes_ += 48;
  return first;
}

Configuration* Configurations::intern(std::vector<Item> items, bool may_end, bool escaped) {
  std::uint64_t hash = mix(3, (may_end ? 1 : 0) + (escaped ? 2 : 0));
  for (const Item& i : items)
    hash = mix(mix(hash, (static_cast<std::uint64_t>(i.pc) << 32) | i.frame), i.state);
  for (auto [it, end] = index_.equal_range(hash); it != end; ++it) {
    Configuration* c = it->second;
    if (c->may_end == may_end && c->escaped == escaped && c->items == items) return c;
  }
  auto& c = configurations_.emplace_back();
  c.items = std::move(items);
  c.items.shrink_to_fit();
  c.may_end = may_end;
  c.escaped = escaped;
  c.next = std::make_unique<Configuration*[]>(program_.class_byte.size());
  index_.emplace(hash, &c);
  const auto bytes = sizeof c + c.items.size() * sizeof(Item) +
                     program_.class_byte.size() * sizeof(Configuration*) + 64;
  bytes_ += bytes;
  work_ += bytes / 32;  // so that a limit of work limits memory, too
  return &c;
}

void Configurations::fail_work() const {
  fail(ErrorCode::invalid_argument,
       "the grammar leads to more places at once than this server follows (at this point of the "
       "answer); make it smaller or less ambiguous");
}

Configuration* Configurations::make_step(Configuration* from, std::uint8_t byte_class) {
  const auto byte = program_.class_byte[byte_class];
  bool any = false;
  closure_->clear();
  work_ += 1 + from->items.size();
  check_work();
  for (const Item& item : from->items) {
    const auto& instruction = program_.code[item.pc];
    Advance advance;
    switch (instruction.op) {
      case Op::literal: {
        const auto& bytes = program_.literals[instruction.a];
        if (static_cast<std::uint8_t>(bytes[item.state]) != byte) continue;
        advance = {item.state + 1, item.state + 1 < bytes.size(), item.state + 1 == bytes.size()};
        break;
      }
      case Op::char_class:
        advance = program_.classes[instruction.a].advance(item.state, byte);
        break;
      case Op::text:
        advance = program_.texts[instruction.a].advance(item.state, byte);
        break;
      default:
        OCTET_CHECK(false, "an item at instruction {}", item.pc);
    }
    if (advance.inside) closure_->inside({item.pc, advance.to, item.frame});
    if (advance.done) closure_->go_on(instruction.b, item.frame);
    any = any || advance.inside || advance.done;
  }
  return from->next[byte_class] = any ? closure_->finish() : dead_;
}

Edge Configurations::cut_edge(Edge edge, int frames) {
  if (edge.pc == kEnd || edge.pc == kUnknown) return edge;
  edge.parent = cut_frame(edge.parent, frames);
  if ((edge.pc & kLoop) != 0) {
    // A token completes at most as many repetitions as it has bytes: where it can't reach a limit,
    // any count will do.
    const Count& count = program_.counts[program_.code[edge.pc & ~kLoop].a];
    const bool unbounded = count.max == Count::kUnbounded;
    if (edge.lo >= count.min && (unbounded || count.max - edge.hi > longest_token_))
      edge.lo = edge.hi = count.min;
    else if (edge.hi < count.min && count.min - edge.hi > longest_token_)
      edge.lo = edge.hi = 0;
  }
  return edge;
}

std::uint32_t Configurations::cut_frame(std::uint32_t frame, int frames) {
  if (frame == kRootFrame) return frame;
  if (frames == 0) return kUnknownFrame;
  const auto memo = (static_cast<std::uint64_t>(frame) << 8) | static_cast<unsigned>(frames);
  if (const auto it = cut_frames_.find(memo); it != cut_frames_.end()) return it->second;
  std::vector<Edge> result;
  const auto count = frames_[frame].count;
  work_ += count;
  check_work();
  for (std::uint32_t i = 0; i < count; ++i)
    result.push_back(cut_edge(Edge(edges(frame)[i]), frames - 1));
  std::ranges::sort(result);
  const auto repeated = std::ranges::unique(result);
  result.erase(repeated.begin(), repeated.end());
  const auto number = intern_frame(result);
  cut_frames_.emplace(memo, number);
  bytes_ += 48;
  return number;
}

Configuration* Configurations::cut(Configuration* from, int kind) {
  Configuration*& known = from->cut[static_cast<std::size_t>(kind)];
  if (known) return known;
  // A cut stack doesn't know how deep it was: near the limit that matters.
  if (std::ranges::any_of(from->items,
                          [&](const Item& i) { return frames_[i.frame].depth > kMaxDepth / 2; }))
    return known = from;
  std::vector<Item> items = from->items;
  for (Item& item : items)
    item.frame = cut_frame(item.frame, kCutFrames[static_cast<std::size_t>(kind)]);
  std::ranges::sort(items);
  const auto repeated = std::ranges::unique(items);
  items.erase(repeated.begin(), repeated.end());
  return known = intern(std::move(items), from->may_end, from->escaped);
}

std::vector<Configuration*> Configurations::import(const Configurations& other,
                                                   const std::vector<Configuration*>& from,
                                                   std::uint64_t end_work) {
  // All frames below, without recursion: a stack may be deep. Parents have lower numbers than
  // their children, but for those of a circle, which are taken together.
  std::vector<std::uint32_t> frames, path;
  std::vector<bool> seen(other.frames_.size());
  const auto need = [&](std::uint32_t frame) {
    const auto& f = other.frames_[frame];
    for (auto member = f.group; member < f.group + f.group_size; ++member) {
      if (seen[member]) return;
      seen[member] = true;
      path.push_back(member);
    }
  };
  for (const Configuration* c : from)
    for (const Item& item : c->items) need(item.frame);
  work_ += other.frames_.size() / 1024;
  while (!path.empty()) {
    const auto frame = path.back();
    path.pop_back();
    if ((work_ += 4) > end_work) return {};
    frames.push_back(frame);
    for (const Edge& e : other.edges(frame))
      if (e.pc != kEnd && e.pc != kUnknown) need(e.parent);
  }
  std::ranges::sort(frames);
  std::unordered_map<std::uint32_t, std::uint32_t> numbers;
  for (std::size_t i = 0; i < frames.size();) {
    if (work_ > end_work) return {};
    const auto& f = other.frames_[frames[i]];
    std::vector<std::vector<Edge>> group;
    for (auto member = f.group; member < f.group + f.group_size; ++member) {
      auto& edges = group.emplace_back();
      for (Edge e : other.edges(member)) {
        if (e.pc != kEnd && e.pc != kUnknown)
          e.parent = e.parent >= f.group && e.parent < f.group + f.group_size && f.group_size > 1
                         ? kLoop | (e.parent - f.group)
                         : numbers.at(e.parent);
        edges.push_back(e);
      }
      std::ranges::sort(edges);
    }
    const auto first = f.group_size > 1 ? intern_group(group) : intern_frame(group[0]);
    for (std::uint32_t k = 0; k < f.group_size; ++k) numbers[f.group + k] = first + k;
    i += f.group_size;
  }
  std::vector<Configuration*> result;
  for (const Configuration* c : from) {
    if ((work_ += c->items.size()) > end_work) return {};
    std::vector<Item> items = c->items;
    for (Item& item : items) item.frame = numbers.at(item.frame);
    std::ranges::sort(items);
    result.push_back(intern(std::move(items), c->may_end, c->escaped));
  }
  return result;
}

}  // namespace octet::generate::grammar
