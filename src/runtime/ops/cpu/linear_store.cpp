// Packed weights taken apart for a file, and put together over a mapped one.

#include <algorithm>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

namespace {

// Raise it with every change of what linear.cpp writes into panels, or of the description below;
// ops_store_test compares the bytes of every kind of panel with what they were.
constexpr int kLayoutVersion = 1;

// description: split, then for each part kPartWords numbers in the order of describe().
// blocks: for each part its panels and, if it gathers, the order as int32.
constexpr std::size_t kPartWords = 10;
constexpr std::int64_t kMaxFeatures = std::int64_t{1} << 31;

void describe(const CpuLinear::Part& part, std::vector<std::int64_t>& words) {
  const PanelWeight& w = part.panels;
  words.insert(words.end(),
               {static_cast<std::int64_t>(w.kind), w.out_features, w.in_features, w.group_size,
                static_cast<std::int64_t>(w.group_bytes), static_cast<std::int64_t>(w.panel_bytes),
                w.f32_scales ? 1 : 0, w.has_zeros ? 1 : 0, part.gather.empty() ? 0 : 1,
                part.quantized ? 1 : 0});
}

[[noreturn]] void bad(const char* what, std::int64_t expected, std::int64_t found) {
  fail(ErrorCode::bad_data, "stored linear: {}: expected {}, found {}", what, expected, found);
}
void require_equal(const char* what, std::int64_t expected, std::int64_t found) {
  if (expected != found) bad(what, expected, found);
}
void require_range(const char* what, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value < least || value > most)
    fail(ErrorCode::bad_data, "stored linear: {}: expected {} to {}, found {}", what, least, most,
         value);
}

// Sizes that the kernels take for granted, as linear.cpp computes them.
void check_sizes(const PanelWeight& w) {
  std::size_t panel = 0, group = 0;
  switch (w.kind) {
    case PanelKind::f32:
      panel = size(kPanel * w.in_features * 4);
      break;
    case PanelKind::bf16:
      panel = size(kPanel * round_up(w.in_features, 2) * 2);
      break;
    case PanelKind::u8:
      require_range("group size", w.group_size, 4, w.in_features);
      require_equal("group size modulo 4", 0, w.group_size % 4);
      require_equal("inputs beyond whole groups", 0, w.in_features % w.group_size);
      group = size(kPanel * (w.group_size + (w.f32_scales ? 4 : 2) + (w.has_zeros ? 1 : 0)));
      panel = size(w.in_features / w.group_size) * group;
      break;
    case PanelKind::u4:
      require_range("group size", w.group_size, 32, w.in_features);
      require_equal("group size modulo 32", 0, w.group_size % 32);
      require_equal("inputs beyond whole groups", 0, w.in_features % w.group_size);
      require_equal("zero points of four-bit codes", 0, w.has_zeros);
      group = size(kPanel * (w.group_size / 2 + (w.f32_scales ? 4 : 2)));
      panel = size(w.in_features / w.group_size) * group;
      break;
  }
  require_equal("bytes of a group", static_cast<std::int64_t>(group),
                static_cast<std::int64_t>(w.group_bytes));
  require_equal("bytes of a panel", static_cast<std::int64_t>(panel),
                static_cast<std::int64_t>(w.panel_bytes));
}

PanelWeight read_panels(std::span<const std::int64_t> words) {
  require_range("kind of panel", words[0], 0, static_cast<std::int64_t>(PanelKind::u4));
  require_range("output features", words[1], 1, kMaxFeatures);
  require_range("input features", words[2], 1, kMaxFeatures);
  for (const std::size_t flag : {6u, 7u, 8u, 9u}) require_range("flag", words[flag], 0, 1);
  PanelWeight w;
  w.kind = static_cast<PanelKind>(words[0]);
  w.out_features = words[1];
  w.in_features = words[2];
  w.group_size = words[3];
  w.group_bytes = size(words[4]);
  w.panel_bytes = size(words[5]);
  w.f32_scales = words[6] == 1;
  w.has_zeros = words[7] == 1;
  check_sizes(w);
  return w;
}

std::vector<std::int32_t> read_gather(std::span<const std::byte> block, std::int64_t features) {
  require_equal("bytes of the input order", features * 4, static_cast<std::int64_t>(block.size()));
  std::vector<std::int32_t> gather(size(features));
  std::memcpy(gather.data(), block.data(), block.size());
  for (const std::int32_t k : gather) require_range("input order", k, 0, features - 1);
  return gather;
}

}  // namespace

CpuLinear::CpuLinear(const StoredLinear& stored, std::shared_ptr<const void> keeper)
    : owner(std::move(keeper)) {
  const std::span<const std::int64_t> words(stored.description);
  const std::size_t count = words.size() / kPartWords;
  if (count == 0 || words.size() != 1 + count * kPartWords)
    fail(ErrorCode::bad_data, "stored linear: expected 1 + n * {} numbers, found {}", kPartWords,
         words.size());
  require_range("split", words[0], 0, static_cast<std::int64_t>(Split::columns));
  split_ = static_cast<Split>(words[0]);
  std::size_t next = 0;
  const auto block = [&] {
    if (next == stored.blocks.size())
      fail(ErrorCode::bad_data, "stored linear: expected more than {} blocks", next);
    return stored.blocks[next++];
  };
  for (std::size_t i = 0; i < count; ++i) {
    const auto described = words.subspan(1 + i * kPartWords, kPartWords);
    Part part;
    part.panels = read_panels(described);
    part.num_panels = (part.panels.out_features + kPanel - 1) / kPanel;
    part.quantized = described[9] == 1;
    const auto panels = block();
    // Divided, so that no product overflows.
    const auto panel_bytes = static_cast<std::int64_t>(part.panels.panel_bytes);
    const auto bytes = static_cast<std::int64_t>(panels.size());
    require_equal("bytes beyond whole panels", 0, bytes % panel_bytes);
    require_equal("panels", part.num_panels, bytes / panel_bytes);
    OCTET_CHECK(reinterpret_cast<std::uintptr_t>(panels.data()) % kStoredAlignment == 0,
                "stored panels at {}", static_cast<const void*>(panels.data()));
    part.panels.data = panels.data();
    // Nobody writes to panels: the tensor is constant in all but its type.
    part.memory = Tensor(const_cast<std::byte*>(panels.data()), DType::u8,
                         {part.num_panels, panel_bytes}, Device{}, nullptr);
    if (described[8] == 1) part.gather = read_gather(block(), part.panels.in_features);
    if (i > 0)
      require_equal("input features of a part", parts[0].panels.in_features,
                    part.panels.in_features);
    in_features_ = part.panels.in_features;
    out_features_ += part.panels.out_features;
    bytes_ += panels.size();
    parts.push_back(std::move(part));
  }
  require_equal("blocks", static_cast<std::int64_t>(next),
                static_cast<std::int64_t>(stored.blocks.size()));
}

std::string CpuBackend::weight_layout() const {
  return fmt::format("cpu-{}", kLayoutVersion);
}

StoredLinear CpuBackend::store_linear(const PackedLinear& weight) const {
  const auto& w = static_cast<const CpuLinear&>(weight);
  StoredLinear stored;
  stored.description.push_back(static_cast<std::int64_t>(w.split()));
  for (const CpuLinear::Part& part : w.parts) {
    describe(part, stored.description);
    const TensorView& memory = part.memory.view();
    stored.blocks.emplace_back(static_cast<const std::byte*>(memory.data()), memory.bytes());
    if (!part.gather.empty()) stored.blocks.push_back(std::as_bytes(std::span(part.gather)));
  }
  return stored;
}

std::unique_ptr<PackedLinear> CpuBackend::restore_linear(const StoredLinear& stored,
                                                         std::shared_ptr<const void> owner) const {
  return std::make_unique<CpuLinear>(stored, std::move(owner));
}

}  // namespace octet::ops::cpu
