#pragma once

#include <functional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "model/layer.h"
#include "model/weight_cache.h"

namespace octet::model {

/// The weight of one linear module and what it points to, for the time of packing.
struct ModuleWeight {
  ops::LinearPart part;
  std::vector<std::byte> storage;  ///< owned codes, if the file's own bytes don't serve
};

/// Finds the weight of a module by its checkpoint name without ".weight"
/// ("model.language_model.layers.0.mlp.gate_proj").
using ModuleLoader =
    std::function<ModuleWeight(const std::string& module, std::int64_t out, std::int64_t in)>;

/// A GPTQ linear as the operations take it; points to the linear's bytes where they serve as they
/// are. Errors: bad_data.
ModuleWeight gptq_weight(const checkpoint::GptqLinear& linear);

/// Reads modules from a checkpoint: dense, or GPTQ of 2, 3, 4 or 8 bits.
/// Errors: bad_data, not_found, with file and tensor.
ModuleLoader checkpoint_loader(const checkpoint::Checkpoint& checkpoint);

/// Linear modules of a layer that may be quantized, in the order in which GPTQ visits them; each
/// group has one input. docs/quantization: subsets of true-sequential.
struct LinearModule {
  std::string name;  ///< after "layers.N."
  std::int64_t out_features = 0, in_features = 0;
};
std::vector<std::vector<LinearModule>> quantized_modules(const checkpoint::TextConfig& config,
                                                         std::int64_t layer);

/// "model.language_model.layers.N."
std::string layer_prefix(std::int64_t layer);

/// Loads layer N; linears come from the cache, if there is one, or are packed.
/// Errors: as the loader's; out_of_memory; WeightCache::Unusable.
LayerWeights load_layer(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                        const ModuleLoader& modules, std::int64_t layer,
                        WeightCache* cache = nullptr);

/// The same for one group of quantized_modules and what shares its input.
void load_linears(ops::Backend& backend, const checkpoint::TextConfig& config,
                  const ModuleLoader& modules, std::int64_t layer, std::size_t group,
                  LayerWeights& weights, WeightCache* cache = nullptr);

/// A small tensor (norm, bias) as float32 on the backend. Errors: bad_data if its shape differs.
Tensor load_f32(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                const std::string& name, const Shape& shape);

/// A 16- or 32-bit matrix as a LinearPart that points into the mapped file.
ops::LinearPart dense_part(const checkpoint::TensorInfo& tensor);

}  // namespace octet::model
