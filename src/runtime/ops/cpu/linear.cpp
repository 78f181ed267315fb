#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

namespace {

// Groups that the panels can hold as they are; others become float32 panels. Four codes of a column
// are a word, of the checkpoint as of a panel, which a slice must not cut.
bool packs_as_codes(const LinearPart& part, Range in) {
  return part.quantized && part.codes.group_size % 4 == 0 && in.begin % 4 == 0 && in.count % 4 == 0;
}

// Writes one panel of codes with their scales and zeros.
struct CodePacker {
  const LinearPart& part;
  Range out, in;
  const PanelWeight& w;
  // Packed order of the input features, absolute; empty: in order.
  std::vector<std::int32_t> order;
  int lift = 0;  // added to every code

  std::int64_t feature(std::int64_t k) const {
    return order.empty() ? in.begin + k : order[size(k)];
  }

  // Four k of the panel's columns [16][4]. Padding columns are the zero point, whose value is zero.
  void word(std::int64_t panel, std::int64_t k, std::byte* to) const {
    const QuantizedWeight& q = part.codes;
    const std::int64_t n_all = part.out_features, n0 = out.begin + panel * kPanel;
    const std::int64_t valid = std::min(kPanel, out.count - panel * kPanel);
    if (order.empty()) {
      std::memcpy(to, q.codes + ((in.begin + k) / 4 * n_all + n0) * 4, size(valid * 4));
    } else {
      for (std::int64_t c = 0; c < valid; ++c)
        for (std::int64_t j = 0; j < 4; ++j) {
          const std::int64_t f = feature(k + j);
          to[c * 4 + j] = q.codes[(f / 4 * n_all + n0 + c) * 4 + f % 4];
        }
    }
    for (std::int64_t i = 0; lift != 0 && i < valid * 4; ++i)
      to[i] = static_cast<std::byte>(static_cast<int>(to[i]) + lift);
    std::memset(to + valid * 4, w.kind == PanelKind::u4 ? 8 : 128, size((kPanel - valid) * 4));
  }

  void group(std::int64_t panel, std::int64_t g, std::byte* to) const {
    const QuantizedWeight& q = part.codes;
    const std::int64_t n_all = part.out_features, n0 = out.begin + panel * kPanel;
    const std::int64_t valid = std::min(kPanel, out.count - panel * kPanel);
    const std::int64_t k0 = g * w.group_size;
    if (w.kind == PanelKind::u4) {
      for (std::int64_t k = 0; k < w.group_size; k += 8) {
        std::byte* low = to + k * kPanel / 2;
        std::byte high[4 * kPanel];
        word(panel, k0 + k, low);
        word(panel, k0 + k + 4, high);
        for (std::int64_t i = 0; i < 4 * kPanel; ++i) low[i] |= high[i] << 4;
      }
    } else {
      for (std::int64_t k = 0; k < w.group_size; k += 4) word(panel, k0 + k, to + k * kPanel);
    }
    const std::int64_t source =
        q.group_index.empty() ? (in.begin + k0) / q.group_size : q.group_index[size(feature(k0))];
    std::byte* scale = to + w.code_bytes();
    for (std::int64_t c = 0; c < kPanel; ++c) {
      const float s = c < valid ? q.scales[size(source * n_all + n0 + c)] : 0.0f;
      if (w.f32_scales) {
        std::memcpy(scale + c * 4, &s, 4);
      } else {
        const std::uint16_t h = float_to_f16(s);
        std::memcpy(scale + c * 2, &h, 2);
      }
    }
    if (!w.has_zeros) return;
    std::byte* zero = scale + kPanel * (w.f32_scales ? 4 : 2);
    for (std::int64_t c = 0; c < kPanel; ++c)
      zero[c] = std::byte{c < valid ? q.zeros[size(source * n_all + n0 + c)] : std::uint8_t{128}};
  }
};

// Act-order: features sorted by group, so that groups are contiguous; x is gathered to match.
// A rank that holds some of the features has groups of uneven size: then the weight is unpacked.
std::vector<std::int32_t> group_order(const QuantizedWeight& q, Range in) {
  std::vector<std::int32_t> order(size(in.count));
  std::iota(order.begin(), order.end(), static_cast<std::int32_t>(in.begin));
  std::ranges::stable_sort(order, {}, [&](std::int32_t k) { return q.group_index[size(k)]; });
  return order;
}

bool groups_are_whole(const QuantizedWeight& q, const std::vector<std::int32_t>& order) {
  for (std::size_t k = 0; k < order.size(); ++k)
    if (q.group_index[size(order[k])] !=
        q.group_index[size(order[k / size(q.group_size) * size(q.group_size)])])
      return false;
  return order.size() % size(q.group_size) == 0;
}

// How a part's codes are kept. `lift` is added to every code.
struct CodeForm {
  PanelKind kind = PanelKind::u8;
  int lift = 0;
  bool has_zeros = false;
};

// One zero point for all is moved to where the kind has it, so that it need not be stored; the
// values stay. Codes that fit four bits around 8 take half the bytes.
CodeForm code_form(const LinearPart& part, std::int64_t group_size) {
  const QuantizedWeight& q = part.codes;
  if (q.zeros.empty() || std::ranges::all_of(q.zeros, [](auto z) { return z == 128; })) return {};
  if (std::ranges::any_of(q.zeros, [&](auto z) { return z != q.zeros[0]; }) || q.zeros[0] > 128)
    return {.has_zeros = true};
  const auto* codes = reinterpret_cast<const std::uint8_t*>(q.codes);
  const int largest = *std::max_element(codes, codes + part.out_features * part.in_features);
  const int zero = q.zeros[0];
  if (zero <= 8 && largest + 8 - zero <= 15 && group_size % 32 == 0)
    return {.kind = PanelKind::u4, .lift = 8 - zero};
  if (largest + 128 - zero <= 255) return {.lift = 128 - zero};
  return {.has_zeros = true};
}

CpuLinear::Part pack_codes(const LinearPart& part, Range out, Range in,
                           std::vector<std::int32_t> order, ThreadPool& pool) {
  const QuantizedWeight& q = part.codes;
  CpuLinear::Part packed;
  PanelWeight& w = packed.panels;
  w.out_features = out.count;
  w.in_features = in.count;
  w.group_size = std::min(q.group_size, in.count);
  const CodeForm form = code_form(part, w.group_size);
  w.kind = form.kind;
  w.has_zeros = form.has_zeros;
  w.f32_scales =
      std::ranges::any_of(q.scales, [](float s) { return f16_to_float(float_to_f16(s)) != s; });
  w.group_bytes = w.code_bytes() + size(kPanel * ((w.f32_scales ? 4 : 2) + (w.has_zeros ? 1 : 0)));
  const std::int64_t groups = in.count / w.group_size;
  w.panel_bytes = size(groups) * w.group_bytes;
  packed.num_panels = (out.count + kPanel - 1) / kPanel;
  packed.memory =
      make_host_tensor(DType::u8, {packed.num_panels, static_cast<std::int64_t>(w.panel_bytes)});
  auto* data = static_cast<std::byte*>(packed.memory.view().data());
  w.data = data;
  if (!order.empty()) {
    packed.gather.resize(order.size());
    std::ranges::transform(order, packed.gather.begin(),
                           [&](std::int32_t k) { return static_cast<std::int32_t>(k - in.begin); });
  }
  const CodePacker packer{part, out, in, w, std::move(order), form.lift};
  pool.parallel_for(packed.num_panels, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t p = begin; p < end; ++p)
      for (std::int64_t g = 0; g < groups; ++g)
        packer.group(p, g, data + size(p) * w.panel_bytes + size(g) * w.group_bytes);
  });
  return packed;
}

// float32 or bfloat16 panels. float16 weights become float32: bfloat16 could not hold them.
CpuLinear::Part pack_dense(const LinearPart& part, Range out, Range in, ThreadPool& pool) {
  CpuLinear::Part packed;
  PanelWeight& w = packed.panels;
  const bool bf16 = !part.quantized && part.dense.dtype == DType::bf16;
  w.kind = bf16 ? PanelKind::bf16 : PanelKind::f32;
  w.out_features = out.count;
  w.in_features = in.count;
  w.panel_bytes = size(kPanel * (bf16 ? round_up(in.count, 2) * 2 : in.count * 4));
  packed.num_panels = (out.count + kPanel - 1) / kPanel;
  packed.memory =
      make_host_tensor(DType::u8, {packed.num_panels, static_cast<std::int64_t>(w.panel_bytes)});
  auto* data = static_cast<std::byte*>(packed.memory.view().data());
  w.data = data;
  pool.parallel_for(packed.num_panels, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t p = begin; p < end; ++p) {
      std::byte* panel = data + size(p) * w.panel_bytes;
      const std::int64_t valid = std::min(kPanel, out.count - p * kPanel);
      for (std::int64_t c = 0; c < valid; ++c) {
        const std::int64_t n = out.begin + p * kPanel + c;
        if (bf16) {
          const std::byte* row = part.dense.data + (n * part.in_features + in.begin) * 2;
          for (std::int64_t k = 0; k < in.count; ++k)
            std::memcpy(panel + (k / 2 * kPanel + c) * 4 + k % 2 * 2, row + k * 2, 2);
        } else {
          const auto row = dequantize(part, {n, 1}, in);
          for (std::int64_t k = 0; k < in.count; ++k)
            std::memcpy(panel + (k * kPanel + c) * 4, &row[size(k)], 4);
        }
      }
    }
  });
  return packed;
}

CpuLinear::Part pack_form(const LinearPart& part, Range out, Range in, ThreadPool& pool) {
  if (packs_as_codes(part, in)) {
    if (part.codes.group_index.empty()) return pack_codes(part, out, in, {}, pool);
    auto order = group_order(part.codes, in);
    if (groups_are_whole(part.codes, order))
      return pack_codes(part, out, in, std::move(order), pool);
  }
  return pack_dense(part, out, in, pool);
}

CpuLinear::Part pack_part(const LinearPart& part, const RankSlice& slice, ThreadPool& pool) {
  CpuLinear::Part packed =
      pack_form(part, output_range(part, slice), input_range(part, slice), pool);
  packed.quantized = part.quantized;
  return packed;
}

}  // namespace

CpuLinear::CpuLinear(std::span<const LinearPart> stacked, const RankSlice& slice,
                     ThreadPool& pool) {
  split_ = slice.split;
  for (const LinearPart& part : stacked) {
    if (part.in_features != stacked[0].in_features)
      fail(ErrorCode::invalid_argument, "linear: parts with {} and {} input features",
           stacked[0].in_features, part.in_features);
    parts.push_back(pack_part(part, slice, pool));
    in_features_ = parts.back().panels.in_features;
    out_features_ += parts.back().panels.out_features;
    bytes_ += parts.back().memory.view().bytes();
  }
}

std::unique_ptr<PackedLinear> CpuBackend::pack_linear(std::span<const LinearPart> parts,
                                                      const RankSlice& slice) {
  return std::make_unique<CpuLinear>(parts, slice, pool_);
}

Int8Rows CpuBackend::quantize_inputs(const float* x, std::int64_t rows, std::int64_t k) {
  const std::size_t terms = size(int8_terms_);
  const std::int64_t groups = k / kInt8Group;
  const std::int64_t tile =
      rows <= int8_->few_rows[terms - 1] ? int8_->few_rows[terms - 1] : int8_->tile_rows[terms - 1];
  const auto grow = [](auto& block, std::int64_t n) {
    if (block.size() < size(n)) block.resize(size(n));
    return block.data();
  };
  const std::int64_t room = round_up(rows, tile);
  std::int8_t* codes = grow(input_codes_, room * k * int8_terms_);
  float* scales = grow(input_scales_, room * groups);
  std::int32_t* corrections = grow(input_corrections_, room * groups);
  pool_.parallel_for((rows + tile - 1) / tile, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin * tile; r < std::min(end * tile, rows); r += tile)
      int8_->quantize_rows[terms - 1](x + r * k, std::min(tile, rows - r), tile, k, k,
                                      codes + r * k * int8_terms_, scales + r * groups,
                                      corrections + r * groups);
  });
  return {codes, scales, corrections, rows, tile};
}

void CpuBackend::linear(TensorView x, const PackedLinear& packed, TensorView y) {
  const auto& w = static_cast<const CpuLinear&>(packed);
  const std::int64_t rows = x.dim(0), k = w.in_features(), n = w.out_features();
  check_rows("linear input", x, rows, k);
  check_rows("linear output", y, rows, n);
  constexpr std::int64_t kScratch = 2 * kBlock * kPanel;
  float* scratch_base = scratch(worker_scratch_, pool_.num_threads() * kScratch);

  // Some panels of one part over all rows. Parts share one loop of the pool: a small part alone
  // would leave threads waiting.
  struct Task {
    const CpuLinear::Part* part;
    std::int64_t begin, end;
    const float* in;
    const Int8Rows* rounded;  // null: the input as it is
    float* out;
  };
  std::vector<Task> tasks;
  const auto run = [&] {
    // Each part from its first panel to its last, side by side, as they were packed: on a machine
    // of several nodes a thread then finds the panels that its node put there.
    std::ranges::stable_sort(tasks, {}, [](const Task& t) {
      return static_cast<double>(t.begin) / static_cast<double>(t.part->num_panels);
    });
    pool_.parallel_for(static_cast<std::int64_t>(tasks.size()), 1,
                       [&](std::int64_t begin, std::int64_t end, int worker) {
                         for (std::int64_t i = begin; i < end; ++i) {
                           const Task& t = tasks[size(i)];
                           if (t.rounded)
                             int8_->linear[int8_terms_ - 1](t.part->panels, t.begin, t.end,
                                                            *t.rounded, t.out, n);
                           else
                             kernels_.linear(t.part->panels, t.begin, t.end, t.in, rows, k, t.out,
                                             n, scratch_base + worker * kScratch);
                         }
                       });
    tasks.clear();
  };
  const float* rounded = nullptr;
  if (rounds_to_bf16_) {
    float* to = scratch(rounded_, rows * k);
    const float* from = x.as<float>();
    pool_.parallel_for(rows * k, 1 << 14, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) to[i] = bf16_to_float(float_to_bf16(from[i]));
    });
    rounded = to;
  }
  std::int64_t column = 0;
  std::optional<Int8Rows> shared;  // x rounded, for all parts that take it in its own order
  for (const CpuLinear::Part& part : w.parts) {
    const float* in = rounds_to_bf16_ && part.quantized ? rounded : x.as<float>();
    const bool rounds = int8_terms_ > 0 && part.takes_int8();
    Int8Rows own;
    if (!part.gather.empty()) {
      run();  // the tasks so far, before their input is overwritten
      shared.reset();
      float* gathered = scratch(gathered_, rows * k);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t i = 0; i < k; ++i) gathered[r * k + i] = in[r * k + part.gather[size(i)]];
      in = gathered;
      if (rounds) own = quantize_inputs(in, rows, k);
    } else if (rounds && !shared) {
      shared = quantize_inputs(in, rows, k);
    }
    // Many pieces a thread balance the load to the end; whole tiles of panels keep the kernels
    // busy.
    const std::int64_t grain =
        std::clamp<std::int64_t>(part.num_panels / (pool_.num_threads() * 32) / 4 * 4, 4, 64);
    for (std::int64_t p = 0; p < part.num_panels; p += grain)
      tasks.push_back({.part = &part,
                       .begin = p,
                       .end = std::min(p + grain, part.num_panels),
                       .in = in,
                       .rounded = !rounds               ? nullptr
                                  : part.gather.empty() ? &*shared
                                                        : &own,
                       .out = y.as<float>() + column});
    if (!part.gather.empty()) run();
    column += part.panels.out_features;
  }
  run();
}

}  // namespace octet::ops::cpu
