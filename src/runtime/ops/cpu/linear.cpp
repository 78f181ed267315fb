#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

namespace {

// Groups that the panels can hold as they are; others become float32 panels.
bool packs_as_codes(const LinearPart& part) {
  return part.quantized && part.codes.group_size % 4 == 0;
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

  void group(std::int64_t panel, std::int64_t g, std::byte* to) const {
    const QuantizedWeight& q = part.codes;
    const std::int64_t n_all = part.out_features, n0 = out.begin + panel * kPanel;
    const std::int64_t valid = std::min(kPanel, out.count - panel * kPanel);
    const std::int64_t k0 = g * w.group_size;
    for (std::int64_t k = 0; k < w.group_size; k += 4) {
      std::byte* word = to + k * kPanel;
      if (order.empty()) {
        std::memcpy(word, q.codes + ((in.begin + k0 + k) / 4 * n_all + n0) * 4, size(valid * 4));
      } else {
        for (std::int64_t c = 0; c < valid; ++c)
          for (std::int64_t j = 0; j < 4; ++j) {
            const std::int64_t f = feature(k0 + k + j);
            word[c * 4 + j] = q.codes[(f / 4 * n_all + n0 + c) * 4 + f % 4];
          }
      }
      for (std::int64_t i = 0; lift != 0 && i < valid * 4; ++i)
        word[i] = static_cast<std::byte>(static_cast<int>(word[i]) + lift);
      // Padding columns are 128, whose value is zero.
      std::memset(word + valid * 4, 128, size((kPanel - valid) * 4));
    }
    const std::int64_t source =
        q.group_index.empty() ? (in.begin + k0) / q.group_size : q.group_index[size(feature(k0))];
    std::byte* scale = to + w.group_size * kPanel;
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

// What to add to every code so that the zero point, if there is one for all, becomes 128: the
// values stay, the zeros need not be stored. 0: nothing, or the codes would not fit.
int common_lift(const LinearPart& part) {
  const QuantizedWeight& q = part.codes;
  if (q.zeros.empty() || std::ranges::any_of(q.zeros, [&](auto z) { return z != q.zeros[0]; }))
    return 0;
  const int lift = 128 - q.zeros[0];
  if (lift <= 0) return 0;  // the usual case: no need to look at the codes
  const auto* codes = reinterpret_cast<const std::uint8_t*>(q.codes);
  const auto largest = std::max_element(codes, codes + part.out_features * part.in_features);
  return *largest + lift <= 255 ? lift : 0;
}

CpuLinear::Part pack_codes(const LinearPart& part, Range out, Range in,
                           std::vector<std::int32_t> order, ThreadPool& pool) {
  const QuantizedWeight& q = part.codes;
  CpuLinear::Part packed;
  PanelWeight& w = packed.panels;
  w.kind = PanelKind::u8;
  w.out_features = out.count;
  w.in_features = in.count;
  w.group_size = std::min(q.group_size, in.count);
  w.f32_scales =
      std::ranges::any_of(q.scales, [](float s) { return f16_to_float(float_to_f16(s)) != s; });
  const int lift = common_lift(part);
  w.has_zeros = lift == 0 && std::ranges::any_of(q.zeros, [](std::uint8_t z) { return z != 128; });
  w.group_bytes = size(kPanel * (w.group_size + (w.f32_scales ? 4 : 2) + (w.has_zeros ? 1 : 0)));
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
  const CodePacker packer{part, out, in, w, std::move(order), lift};
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

CpuLinear::Part pack_part(const LinearPart& part, const RankSlice& slice, ThreadPool& pool) {
  const Range out = output_range(part, slice), in = input_range(part, slice);
  if (packs_as_codes(part)) {
    if (part.codes.group_index.empty()) return pack_codes(part, out, in, {}, pool);
    auto order = group_order(part.codes, in);
    if (groups_are_whole(part.codes, order))
      return pack_codes(part, out, in, std::move(order), pool);
  }
  return pack_dense(part, out, in, pool);
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
  const int terms = int8_terms_;
  const std::int64_t groups = k / kInt8Group, tile = int8_->tile_rows[terms - 1];
  const auto grow = [](auto& block, std::int64_t n) {
    if (block.size() < size(n)) block.resize(size(n));
    return block.data();
  };
  std::int8_t* codes = grow(input_codes_, rows * k * terms);
  float* scales = grow(input_scales_, rows * groups);
  std::int32_t* corrections = grow(input_corrections_, rows * groups);
  pool_.parallel_for((rows + tile - 1) / tile, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin * tile; r < std::min(end * tile, rows); r += tile)
      int8_->quantize_rows[terms - 1](x + r * k, std::min(tile, rows - r), k, k,
                                      codes + r * k * terms, scales + r * groups,
                                      corrections + r * groups);
  });
  return {codes, scales, corrections, rows};
}

void CpuBackend::linear(TensorView x, const PackedLinear& packed, TensorView y) {
  const auto& w = static_cast<const CpuLinear&>(packed);
  const std::int64_t rows = x.dim(0), k = w.in_features(), n = w.out_features();
  check_rows("linear input", x, rows, k);
  check_rows("linear output", y, rows, n);
  constexpr std::int64_t kScratch = 2 * kBlock * kPanel;
  float* scratch_base = scratch(worker_scratch_, pool_.num_threads() * kScratch);
  std::int64_t column = 0;
  std::optional<Int8Rows> shared;  // x as int8, for all parts that take it in its own order
  for (const CpuLinear::Part& part : w.parts) {
    const float* in = x.as<float>();
    if (!part.gather.empty()) {
      float* gathered = scratch(gathered_, rows * k);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t i = 0; i < k; ++i) gathered[r * k + i] = in[r * k + part.gather[size(i)]];
      in = gathered;
    }
    float* out = y.as<float>() + column;
    // A few pieces a thread balance the load; whole tiles of panels keep the kernels busy.
    const std::int64_t grain =
        std::clamp<std::int64_t>(part.num_panels / (pool_.num_threads() * 8) / 4 * 4, 4, 64);
    if (int8_terms_ > 0 && part.takes_int8()) {
      if (!shared || !part.gather.empty()) shared = quantize_inputs(in, rows, k);
      pool_.parallel_for(part.num_panels, grain, [&](std::int64_t begin, std::int64_t end, int) {
        int8_->linear[int8_terms_ - 1](part.panels, begin, end, *shared, out, n);
      });
      if (!part.gather.empty()) shared.reset();
      column += part.panels.out_features;
      continue;
    }
    pool_.parallel_for(part.num_panels, grain,
                       [&](std::int64_t begin, std::int64_t end, int worker) {
                         kernels_.linear(part.panels, begin, end, in, rows, k, out, n,
                                         scratch_base + worker * kScratch);
                       });
    column += part.panels.out_features;
  }
}

}  // namespace octet::ops::cpu
