#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/text_model.h"
#include "quantize/calibration.h"
#include "quantize/gptq.h"
#include "quantize/row_store.h"
#include "runtime/comm/communicator.h"

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

/// Where the time went.
struct PhaseSeconds {
  double load = 0;        ///< packing weights
  double forward = 0;     ///< layers over the calibration rows
  double statistics = 0;  ///< Hessians and shifts
  double factor = 0;
  double solve = 0;  ///< columns, refinement, report
  double write = 0;
};

inline PhaseSeconds sum(const PhaseSeconds& a, const PhaseSeconds& b) {
  return {a.load + b.load,     a.forward + b.forward, a.statistics + b.statistics,
          a.factor + b.factor, a.solve + b.solve,     a.write + b.write};
}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Adds the time until its end to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(double& sum) : sum_(sum) {}
  ~Stopwatch() { sum_ += seconds_since(start_); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& sum_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Where the rows of the calibration set are kept.
struct ArenaPlan {
  bool spill = false;            ///< hidden states in a file instead of memory
  bool keep_inputs = true;       ///< inputs of the output projections too, else computed twice
  std::filesystem::path folder;  ///< of the file
};

/// Walks the calibration rows through the model, one layer at a time, and quantizes each layer's
/// linears on the way: true-sequential GPTQ. A module sees inputs that everything before it,
/// already quantized, has made. If the options ask for the difference to the unquantized model, its
/// hidden states walk along. Ranks hold different rows and add up their statistics; each solves a
/// part of every module's outputs, and all get all results. docs/quantization.md
class LayerQuantizer {
 public:
  LayerQuantizer(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                 const CalibrationSet& calibration, Method method, const GptqOptions& options,
                 const ArenaPlan& arena, linalg::Linalg& linalg, comm::Communicator& ranks);

  /// How much each token's error counts (GptqOptions::token_weights): walks the unquantized model
  /// through all layers once. To be called before the first layer. step as for quantize().
  void weigh_tokens(const std::function<void(const std::string&)>& step);
  /// Quantizes layer N; layers must come in order. step(what) is called between the parts.
  std::vector<ModuleResult> quantize(std::int64_t layer,
                                     const std::function<void(const std::string&)>& step);
  /// Walks through layer N with modules that an earlier run has quantized: leaves the same states
  /// as quantize() did.
  void replay(std::int64_t layer, const model::ModuleLoader& done);

  const PhaseSeconds& seconds() const { return seconds_; }
  PhaseSeconds& seconds() { return seconds_; }

 private:
  // The model as it is being made, or the unquantized one.
  struct Stream {
    std::unique_ptr<RowStore> hidden, kept;
    model::LayerWeights weights;
  };
  struct RowBatch;
  void for_batches(const std::function<void(std::size_t, std::size_t)>& body);
  // What the modules of a point read, and the residual stream that their outputs are added to.
  struct PointInputs {
    std::vector<float> values, residual;
  };
  PointInputs inputs(Stream& stream, std::size_t begin, std::size_t end, std::size_t point);
  std::vector<float> weights_of(std::size_t begin, std::size_t end,
                                const std::vector<float>& residual) const;
  void embed_rows();
  void finish_layer();
  InputStatistics statistics(std::size_t point, std::int64_t in_features);
  ModuleResult solve(const std::string& name, const model::LinearModule& module, Solver* solver,
                     std::int64_t tokens);
  void solve_part(std::span<const float> weight, const model::LinearModule& module, Solver* solver,
                  ModuleResult& result);
  bool held_out(std::size_t row) const;
  bool any_held_out_ = false;
  std::int64_t group_size(std::int64_t in_features) const;
  model::ModuleLoader loader_of(const std::vector<ModuleResult>& done) const;
  void load(std::int64_t layer, const model::ModuleLoader& modules);

  ops::Backend& backend_;
  const checkpoint::Checkpoint& checkpoint_;
  std::vector<std::vector<std::int32_t>> rows_;  // this rank's
  Method method_;
  GptqOptions options_;
  linalg::Linalg& linalg_;
  comm::Communicator& ranks_;
  const SolverKernels& kernels_;
  checkpoint::TextConfig two_layers_;  // one of each kind: the caches of the layer under work
  model::Rope rope_;
  model::LayerWorkspace workspace_;
  model::SequencePool sequences_;
  Stream real_;
  std::unique_ptr<Stream> reference_;
  std::vector<std::vector<float>> token_weights_;  // [row][token], square roots
  PhaseSeconds seconds_;
};

/// Codes as the operations take them: GPTQ's 8-bit order, whatever the bits.
model::ModuleWeight to_module_weight(const QuantizedMatrix& matrix);

/// True if the options need the hidden states of the unquantized model.
bool needs_reference(const GptqOptions& options);

}  // namespace octet::quantize
