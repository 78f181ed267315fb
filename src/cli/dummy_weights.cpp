#include "cli/dummy_weights.h"

#include "checkpoint/expected_tensors.h"
#include "model/synthetic.h"

namespace octet::cli {

std::uint64_t DummyWeights::bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& t : checkpoint::expected_tensors({.text = config})) {
    if (t.part != checkpoint::TensorClass::text) continue;
    const auto n = static_cast<std::uint64_t>(num_elements(t.shape));
    // Codes with a scale for each 32.
    bytes += t.quantizable ? (bits <= 4 ? n * 9 : n * 17) / 16 : 2 * n;
  }
  return bytes;
}

DummyWeights dummy_weights(const std::string& shape, const checkpoint::Checkpoint& checkpoint) {
  if (shape.empty()) {
    DummyWeights own{.config = checkpoint.config().text};
    own.config.tie_word_embeddings = false;
    return own;
  }
  return {.config = model::published_shape(shape), .bits = model::synthetic_bits(shape)};
}

}  // namespace octet::cli
