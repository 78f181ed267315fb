#pragma once

#include <span>
#include <vector>

#include "runtime/ops/backend.h"
#include "runtime/ops/cpu/kernels.h"

namespace octet::ops::cpu {

/// One block of memory [layer][page][kv head]: the keys and values of a head in a page lie together
/// as kernels.h (AttentionPages) describes, so that a step reads them as one stream.
class CpuKvCache final : public KvCache {
 public:
  explicit CpuKvCache(const KvCacheShape& shape);
  std::size_t bytes() const override { return memory_.view().bytes(); }
  void copy_page(std::int32_t from, std::int32_t to) override;
  void read(std::int64_t layer, std::span<const std::int32_t> pages, std::int64_t num_tokens,
            std::vector<float>& keys, std::vector<float>& values) const override;

  /// Stores one token's key and value of a head. Threads: different tokens or heads at once.
  void put(std::int64_t layer, std::int32_t page, std::int64_t in_page, std::int64_t head,
           const float* key, const float* value);
  /// The pages of a layer as the attention kernel reads them.
  AttentionPages pages(std::int64_t layer, std::int64_t head,
                       std::span<const std::int32_t> table) const;

 private:
  std::byte* head_block(std::int64_t layer, std::int64_t page, std::int64_t head) const;
  std::size_t head_bytes() const { return 2 * side_bytes_; }
  std::size_t side_bytes_ = 0;  // of the keys, or the values, of a head in a page
  Tensor memory_;
};

}  // namespace octet::ops::cpu
