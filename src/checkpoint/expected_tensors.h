#pragma once

#include <string>
#include <vector>

#include "checkpoint/config.h"
#include "runtime/tensor/dtype.h"

namespace octet::checkpoint {

enum class TensorClass { text, vision, mtp };

/// A tensor that a checkpoint of a configuration has, by its canonical (published) name.
struct ExpectedTensor {
  std::string name;
  Shape shape;
  TensorClass part = TensorClass::text;
  /// A linear that GPTQ may have replaced: name without ".weight" is its module.
  bool quantizable = false;
};

/// All tensors of docs/model.md §2 for a configuration, unquantized. The head is left out when it
/// is tied; vision and MTP when the configuration has none.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

}  // namespace octet::checkpoint
