#include "checkpoint/gptq_format.h"

#include <cmath>
#include <cstring>

#include "runtime/base/error.h"

namespace octet::checkpoint {

namespace {

std::uint32_t word_at(std::span<const std::byte> bytes, std::int64_t i) {
  std::uint32_t w;
  std::memcpy(&w, bytes.data() + i * 4, 4);
  return w;
}

// Value j of a run of 32 values of b bits each: a little-endian stream of b words. `word(i)` gives
// the i-th word of the run.
template <typename Word>
std::uint32_t field(std::int64_t bits, std::int64_t j, const Word& word) {
  const std::int64_t bit = j * bits, w = bit / 32, shift = bit % 32;
  std::uint64_t pair = word(w);
  if (shift + bits > 32) pair |= static_cast<std::uint64_t>(word(w + 1)) << 32;
  return static_cast<std::uint32_t>(pair >> shift) & ((1u << bits) - 1);
}

}  // namespace

std::vector<float> gptq_scales(const GptqLinear& l) {
  const auto n = static_cast<std::size_t>(num_elements(l.scales.shape));
  std::vector<float> scales(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (l.scales.dtype == DType::f32) {
      std::memcpy(&scales[i], l.scales.bytes.data() + 4 * i, 4);
    } else {
      std::uint16_t h;
      std::memcpy(&h, l.scales.bytes.data() + 2 * i, 2);
      scales[i] = l.scales.dtype == DType::f16 ? f16_to_float(h) : bf16_to_float(h);
    }
    if (!std::isfinite(scales[i]))
      fail(ErrorCode::bad_data, "{}: tensor {}: element {} is {}, expected finite scales",
           l.scales.file ? l.scales.file->path().string() : "checkpoint", l.scales.name, i,
           scales[i]);
  }
  return scales;
}

std::vector<std::uint8_t> gptq_zeros(const GptqLinear& l) {
  const std::int64_t n = l.out_features, words = n * l.bits / 32;
  const std::uint32_t mask = (1u << l.bits) - 1;
  std::vector<std::uint8_t> zeros(static_cast<std::size_t>(l.num_groups * n));
  for (std::int64_t g = 0; g < l.num_groups; ++g)
    for (std::int64_t run = 0; run < n / 32; ++run) {
      const auto word = [&](std::int64_t i) {
        return word_at(l.qzeros.bytes, g * words + run * l.bits + i);
      };
      // GPTQModel 5 turned 3-bit zeros of 4 into v1 by subtracting word constants, not one from
      // each field; no logical "zero - 1" of a symmetric file looks like this.
      const bool quirk = l.bits == 3 && l.sym && l.zeros_minus_one && word(0) == 0u &&
                         word(1) == 0xB6DB6DB7u && word(2) == 0x49249249u;
      for (std::int64_t j = 0; j < 32; ++j) {
        const std::uint32_t stored = quirk ? 3u : field(l.bits, j, word);
        zeros[static_cast<std::size_t>(g * n + run * 32 + j)] =
            static_cast<std::uint8_t>((stored + (l.zeros_minus_one ? 1u : 0u)) & mask);
      }
    }
  return zeros;
}

std::vector<std::int32_t> gptq_group_index(const GptqLinear& l) {
  if (!l.g_idx) return {};
  std::vector<std::int32_t> index(static_cast<std::size_t>(l.in_features));
  std::memcpy(index.data(), l.g_idx->bytes.data(), index.size() * 4);
  bool trivial = true;
  for (std::size_t k = 0; k < index.size(); ++k) {
    if (index[k] < 0 || index[k] >= l.num_groups)
      fail(ErrorCode::bad_data, "{}: tensor {}: element {} is {}, expected a group from 0 to {}",
           l.g_idx->file ? l.g_idx->file->path().string() : "checkpoint", l.g_idx->name, k,
           index[k], l.num_groups - 1);
    trivial &= index[k] == static_cast<std::int64_t>(k) / l.group_size;
  }
  if (trivial) index.clear();
  return index;
}

bool gptq_codes_are_direct(const GptqLinear& l) {
  return l.bits == 8;
}

std::vector<std::byte> gptq_codes(const GptqLinear& l) {
  const std::int64_t n = l.out_features;
  std::vector<std::byte> codes(static_cast<std::size_t>(n * l.in_features));
  for (std::int64_t run = 0; run < l.in_features / 32; ++run)
    for (std::int64_t c = 0; c < n; ++c) {
      const auto word = [&](std::int64_t i) {
        return word_at(l.qweight.bytes, (run * l.bits + i) * n + c);
      };
      for (std::int64_t j = 0; j < 32; ++j) {
        const std::int64_t k = run * 32 + j;
        codes[static_cast<std::size_t>((k / 4 * n + c) * 4 + k % 4)] =
            static_cast<std::byte>(field(l.bits, j, word));
      }
    }
  return codes;
}

PackedGptq pack_gptq(std::span<const std::uint8_t> codes, std::span<const float> scales,
                     std::int64_t n, std::int64_t k, std::int64_t bits, std::int64_t group_size) {
  const std::int64_t group = group_size < 0 ? k : group_size, groups = k / group;
  OCTET_CHECK(n % 32 == 0 && k % 32 == 0 && k % group == 0, "packing {}x{} by groups of {}", n, k,
              group);
  PackedGptq p;
  std::vector<std::uint32_t> words(static_cast<std::size_t>(k * bits / 32 * n));
  for (std::int64_t c = 0; c < n; ++c)
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int64_t bit = i % 32 * bits, w = i / 32 * bits + bit / 32;
      const std::uint64_t value =
          static_cast<std::uint64_t>(codes[static_cast<std::size_t>(c * k + i)]) << bit % 32;
      words[static_cast<std::size_t>(w * n + c)] |= static_cast<std::uint32_t>(value);
      if (value >> 32)
        words[static_cast<std::size_t>((w + 1) * n + c)] |= static_cast<std::uint32_t>(value >> 32);
    }
  const auto to_bytes = [](const auto& v) {
    const auto b = std::as_bytes(std::span(v));
    return std::vector<std::byte>(b.begin(), b.end());
  };
  p.qweight = to_bytes(words);

  // All zero points are 2^(bits - 1), stored minus one.
  words.assign(static_cast<std::size_t>(n * bits / 32), 0);
  const std::uint64_t zero = (1u << (bits - 1)) - 1;
  for (std::int64_t c = 0; c < n; ++c) {
    const std::int64_t bit = c % 32 * bits, w = c / 32 * bits + bit / 32;
    const std::uint64_t value = zero << bit % 32;
    words[static_cast<std::size_t>(w)] |= static_cast<std::uint32_t>(value);
    if (value >> 32)
      words[static_cast<std::size_t>(w + 1)] |= static_cast<std::uint32_t>(value >> 32);
  }
  const auto row = to_bytes(words);
  for (std::int64_t g = 0; g < groups; ++g) p.qzeros.insert(p.qzeros.end(), row.begin(), row.end());

  std::vector<std::uint16_t> halves;
  for (std::int64_t g = 0; g < groups; ++g)
    for (std::int64_t c = 0; c < n; ++c)
      halves.push_back(float_to_f16(scales[static_cast<std::size_t>(c * groups + g)]));
  p.scales = to_bytes(halves);
  std::vector<std::int32_t> index;
  for (std::int64_t i = 0; i < k; ++i) index.push_back(static_cast<std::int32_t>(i / group));
  p.g_idx = to_bytes(index);
  return p;
}

}  // namespace octet::checkpoint
