#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/text_model.h"
#include "quantize/calibration.h"
#include "quantize/gptq.h"

namespace octet::quantize {

enum class Method { gptq, rtn };

/// A quantized module of a layer and how it went.
struct ModuleResult {
  std::string name;  ///< "model.language_model.layers.N...."
  QuantizedMatrix matrix;
  GptqReport report;
  std::int64_t num_tokens = 0;
  double seconds = 0;
};

/// Walks the calibration rows through the model, one layer at a time, and quantizes each layer's
/// linears on the way: true-sequential GPTQ. A module sees inputs that everything before it,
/// already quantized, has made. Holds the hidden states of all rows (float32) and one layer.
///
/// The four points of a layer where inputs of linears are known (docs/quantization.md): they are
/// computed again for each point instead of being kept, which costs a second forward pass of the
/// layer's parts and saves the memory of their inputs.
class LayerQuantizer {
 public:
  LayerQuantizer(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                 const CalibrationSet& calibration, Method method, const GptqOptions& options,
                 ThreadPool& pool);

  /// Quantizes layer N; layers must come in order. step(what) is called between the parts.
  std::vector<ModuleResult> quantize(std::int64_t layer,
                                     const std::function<void(const std::string&)>& step);

 private:
  using Visit = std::function<void(model::LayerStep&, TensorView x)>;
  void for_rows(const model::LayerWeights& weights, const Visit& visit, bool keep);
  ModuleResult solve(const std::string& name, const model::LinearModule& module,
                     const std::vector<double>& hessian, std::int64_t tokens);

  ops::Backend& backend_;
  const checkpoint::Checkpoint& checkpoint_;
  const CalibrationSet& calibration_;
  Method method_;
  GptqOptions options_;
  ThreadPool& pool_;
  checkpoint::TextConfig two_layers_;  // one of each kind: the caches of the layer under work
  model::Rope rope_;
  model::LayerWorkspace workspace_;
  model::SequencePool sequences_;
  std::vector<std::vector<float>> hidden_;  // [row][tokens * hidden_size]
};

/// Codes as the operations take them: GPTQ's 8-bit order, whatever the bits.
model::ModuleWeight to_module_weight(const QuantizedMatrix& matrix);

}  // namespace octet::quantize
