#include "runtime/ops/backend.h"

#include "runtime/ops/kv_rounding.h"

namespace octet::ops {

std::size_t KvCacheShape::bytes() const {
  const auto head = static_cast<std::size_t>(head_dim) * dtype_bytes(dtype) +
                    (is_kv_rounded(dtype) ? sizeof(float) : 0);
  return static_cast<std::size_t>(2 * num_layers * num_pages * kPageTokens * num_kv_heads) * head;
}

void check_rows(const char* op, TensorView tensor, std::int64_t rows, std::int64_t columns) {
  OCTET_CHECK(tensor.dtype() == DType::f32 && tensor.shape().size() == 2 && tensor.dim(0) == rows &&
                  tensor.dim(1) == columns,
              "{}: expected F32 [{}, {}], found {} {}", op, rows, columns,
              to_string(tensor.dtype()), to_string(tensor.shape()));
}

void check_batch(const char* op, const RaggedBatch& batch, TensorView rows) {
  OCTET_CHECK(rows.dim(0) == batch.num_rows, "{}: {} rows, but the batch has {}", op, rows.dim(0),
              batch.num_rows);
  std::int64_t next = 0;
  for (const Segment& s : batch.segments) {
    OCTET_CHECK(s.row_begin == next && s.num_rows > 0, "{}: segment at row {} expected at {}", op,
                s.row_begin, next);
    next += s.num_rows;
  }
  OCTET_CHECK(next == batch.num_rows, "{}: segments cover {} of {} rows", op, next, batch.num_rows);
}

StoredLinear Backend::store_linear(const PackedLinear&) const {
  fail(ErrorCode::internal, "the backend {} stores no packed weights", name());
}

std::unique_ptr<PackedLinear> Backend::restore_linear(const StoredLinear&,
                                                      std::shared_ptr<const void>) const {
  fail(ErrorCode::internal, "the backend {} stores no packed weights", name());
}

}  // namespace octet::ops
