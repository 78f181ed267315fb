
#include "checkpoint/gguf_format.h"
#include "runtime/base/error.h"

namespace octet::checkpoint {

namespace {

struct TypeRow {
  std::uint32_t number;
  const char* name;
  GgmlBlock block;
};

// Numbers, names and block sizes of the format.
constexpr TypeRow kTypes[] = {
    {0, "F32", {1, 4}},         {1, "F16", {1, 2}},         {2, "Q4_0", {32, 18}},
    {3, "Q4_1", {32, 20}},      {6, "Q5_0", {32, 22}},      {7, "Q5_1", {32, 24}},
    {8, "Q8_0", {32, 34}},      {9, "Q8_1", {32, 36}},      {10, "Q2_K", {256, 84}},
    {11, "Q3_K", {256, 110}},   {12, "Q4_K", {256, 144}},   {13, "Q5_K", {256, 176}},
    {14, "Q6_K", {256, 210}},   {15, "Q8_K", {256, 292}},   {16, "IQ2_XXS", {256, 66}},
    {17, "IQ2_XS", {256, 74}},  {18, "IQ3_XXS", {256, 98}}, {19, "IQ1_S", {256, 50}},
    {20, "IQ4_NL", {32, 18}},   {21, "IQ3_S", {256, 110}},  {22, "IQ2_S", {256, 82}},
    {23, "IQ4_XS", {256, 136}}, {24, "I8", {1, 1}},         {25, "I16", {1, 2}},
    {26, "I32", {1, 4}},        {27, "I64", {1, 8}},        {28, "F64", {1, 8}},
    {29, "IQ1_M", {256, 56}},   {30, "BF16", {1, 2}},       {34, "TQ1_0", {256, 54}},
    {35, "TQ2_0", {256, 66}},   {39, "MXFP4", {32, 17}},
};

const TypeRow* row_of(GgmlType type) {
  for (const TypeRow& row : kTypes)
    if (row.number == static_cast<std::uint32_t>(type)) return &row;
  return nullptr;
}

}  // namespace

GgmlBlock ggml_block(GgmlType type) {
  const TypeRow* row = row_of(type);
  return row ? row->block : GgmlBlock{};
}

std::string to_string(GgmlType type) {
  const TypeRow* row = row_of(type);
  return row ? row->name : fmt::format("type {}", static_cast<std::uint32_t>(type));
}

std::uint64_t ggml_bytes(const GgufTensor& t) {
  const GgmlBlock block = ggml_block(t.type);
  if (block.elements == 0)
    fail(ErrorCode::bad_data, "tensor {}: {} is not one that octet knows", t.name,
         to_string(t.type));
  const std::int64_t row = t.shape.empty() ? 1 : t.shape.back();
  if (row % block.elements != 0)
    fail(ErrorCode::bad_data, "tensor {}: rows of {} are not whole blocks of {} ({})", t.name, row,
         block.elements, to_string(t.type));
  return static_cast<std::uint64_t>(num_elements(t.shape) / block.elements) * block.bytes;
}

}  // namespace octet::checkpoint
