// Values of the checkpoint as bytes of the other file.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "export/gguf_tensors.h"

namespace octet::exporter {

namespace {

using checkpoint::GgmlType;

constexpr std::int64_t kBlock = 32;
constexpr std::int64_t kRowsAtOnce = 64;

// A tensor as a matrix; vectors are one row, what has more dimensions keeps its first.
model::ModuleWeight matrix_of(const checkpoint::Checkpoint& checkpoint, const SourceTensor& t) {
  if (t.linear) {
    auto tensors = checkpoint.linear(t.name, t.shape[0], t.shape[1]);
    if (const auto* dense = std::get_if<checkpoint::TensorInfo>(&tensors))
      return {.part = model::dense_part(*dense)};
    return model::gptq_weight(std::get<checkpoint::GptqLinear>(tensors));
  }
  checkpoint::TensorInfo info = checkpoint.get(t.name, t.shape);
  const std::int64_t rows = t.shape.size() > 1 ? t.shape[0] : 1;
  info.shape = {rows, num_elements(t.shape) / rows};
  return {.part = model::dense_part(info)};
}

std::int64_t row_of(const SourceTensor& t, std::int64_t row) {
  return t.rows.empty() ? row : t.rows[static_cast<std::size_t>(row)];
}
// Source column of column k.
std::int64_t column_of(const SourceTensor& t, std::int64_t k) {
  if (t.columns.empty()) return k;
  return t.columns[static_cast<std::size_t>(k / t.column_block)] * t.column_block +
         k % t.column_block;
}

float transformed(Transform transform, float x) {
  switch (transform) {
    case Transform::plus_one:
      return x + 1;
    case Transform::minus_exp:
      return -std::exp(x);
    default:
      return x;
  }
}

// Rows of 16- or 32-bit values that stay what they are.
void copy_rows(const SourceTensor& t, const ops::LinearPart& part, std::size_t width,
               std::int64_t begin, std::int64_t end, std::vector<std::byte>& bytes) {
  const std::int64_t k = part.in_features;
  const std::int64_t stretch = t.columns.empty() ? k : t.column_block;
  for (std::int64_t row = begin; row < end; ++row) {
    const auto* from = static_cast<const std::byte*>(part.dense.data) +
                       static_cast<std::size_t>(row_of(t, row) * k) * width;
    for (std::int64_t c = 0; c < k; c += stretch) {
      const auto* piece = from + static_cast<std::size_t>(column_of(t, c)) * width;
      bytes.insert(bytes.end(), piece, piece + static_cast<std::size_t>(stretch) * width);
    }
  }
}

void float_rows(const SourceTensor& t, const ops::LinearPart& part, std::int64_t begin,
                std::int64_t end, std::vector<std::byte>& bytes) {
  const std::int64_t k = part.in_features;
  std::vector<float> row(static_cast<std::size_t>(k));
  for (std::int64_t r = begin; r < end; ++r) {
    const auto values = ops::dequantize(part, {row_of(t, r), 1}, {0, k});
    for (std::int64_t c = 0; c < k; ++c)
      row[static_cast<std::size_t>(c)] =
          transformed(t.transform, values[static_cast<std::size_t>(column_of(t, c))]);
    const auto* raw = reinterpret_cast<const std::byte*>(row.data());
    bytes.insert(bytes.end(), raw, raw + row.size() * sizeof(float));
  }
}

// Blocks of a float16 scale and 32 codes: int8 (Q8_0), or 4 bits around 8, the first half of the
// block in the low halves of its bytes (Q4_0).
void block_rows(const SourceTensor& t, const ops::LinearPart& part, std::int64_t begin,
                std::int64_t end, std::vector<std::byte>& bytes) {
  const ops::QuantizedWeight& q = part.codes;
  const std::int64_t n = part.out_features, blocks = part.in_features / kBlock;
  const bool eight = t.target.type == GgmlType::q8_0;
  const std::size_t block_bytes = eight ? 34 : 18;
  bytes.resize(static_cast<std::size_t>((end - begin) * blocks) * block_bytes);
  const auto* codes = reinterpret_cast<const std::uint8_t*>(q.codes);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t k0 = column_of(t, b * kBlock), group = k0 / q.group_size;
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t row = row_of(t, r);
      const auto at = static_cast<std::size_t>(group * n + row);
      std::byte* to =
          bytes.data() + static_cast<std::size_t>((r - begin) * blocks + b) * block_bytes;
      const std::uint16_t scale = float_to_f16(q.scales[at]);
      std::memcpy(to, &scale, 2);
      std::uint8_t code[kBlock];
      for (std::int64_t i = 0; i < kBlock; i += 4)
        std::memcpy(code + i, codes + ((k0 + i) / 4 * n + row) * 4, 4);
      const int zero = q.zeros.empty() ? 128 : q.zeros[at];
      for (std::size_t i = 0; i < (eight ? kBlock : kBlock / 2); ++i)
        to[2 + i] = eight ? static_cast<std::byte>(code[i] - zero)
                          : static_cast<std::byte>(code[i] | code[i + kBlock / 2] << 4);
    }
  }
}

}  // namespace

void produce(const checkpoint::Checkpoint& checkpoint, const SourceTensor& t,
             const checkpoint::ByteSink& sink) {
  const model::ModuleWeight weight = matrix_of(checkpoint, t);
  const ops::LinearPart& part = weight.part;
  const bool blocks = t.target.type == GgmlType::q8_0 || t.target.type == GgmlType::q4_0;
  const bool as_is = !part.quantized && t.transform == Transform::none &&
                     part.dense.dtype != DType::f32 && t.target.type != GgmlType::f32;
  std::vector<std::byte> bytes;
  for (std::int64_t begin = 0; begin < part.out_features; begin += kRowsAtOnce) {
    const std::int64_t end = std::min(begin + kRowsAtOnce, part.out_features);
    bytes.clear();
    if (blocks)
      block_rows(t, part, begin, end, bytes);
    else if (as_is)
      copy_rows(t, part, dtype_bytes(part.dense.dtype), begin, end, bytes);
    else
      float_rows(t, part, begin, end, bytes);
    sink(bytes);
  }
}

}  // namespace octet::exporter
