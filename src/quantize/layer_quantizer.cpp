#include "quantize/layer_quantizer.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "quantize/hessian.h"
#include "runtime/base/system.h"
#include "runtime/base/thread_pool.h"

namespace octet::quantize {

namespace {

constexpr std::int64_t kStepRows = 1024;  // tokens that pass a layer together
constexpr std::int64_t kStepSequences = 8;

checkpoint::TextConfig one_of_each(const checkpoint::TextConfig& config) {
  checkpoint::TextConfig c = config;
  c.num_hidden_layers = 2;
  c.layer_types = {checkpoint::LayerType::linear_attention, checkpoint::LayerType::full_attention};
  return c;
}

std::int64_t longest_row(const CalibrationSet& set) {
  std::size_t n = 1;
  for (const auto& row : set.rows) n = std::max(n, row.size());
  return static_cast<std::int64_t>(n);
}

std::vector<float> to_host(ops::Backend& backend, TensorView t) {
  std::vector<float> values(static_cast<std::size_t>(t.size()));
  backend.download(t, std::as_writable_bytes(std::span(values)));
  return values;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

model::ModuleWeight to_module_weight(const QuantizedMatrix& q) {
  model::ModuleWeight m;
  const std::int64_t n = q.out_features, k = q.in_features, groups = q.num_groups();
  m.part = {.out_features = n, .in_features = k, .quantized = true};
  m.storage.resize(static_cast<std::size_t>(n * k));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < k; ++j)
      m.storage[static_cast<std::size_t>((j / 4 * n + i) * 4 + j % 4)] =
          static_cast<std::byte>(q.codes[static_cast<std::size_t>(i * k + j)]);
  ops::QuantizedWeight& w = m.part.codes;
  w.codes = m.storage.data();
  w.group_size = q.group_size;
  w.scales.resize(static_cast<std::size_t>(groups * n));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t g = 0; g < groups; ++g)
      w.scales[static_cast<std::size_t>(g * n + i)] =
          f16_to_float(float_to_f16(q.scales[static_cast<std::size_t>(i * groups + g)]));
  if (q.bits != 8)
    w.zeros.assign(static_cast<std::size_t>(groups * n),
                   static_cast<std::uint8_t>(1 << (q.bits - 1)));
  return m;
}

LayerQuantizer::LayerQuantizer(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                               const CalibrationSet& calibration, Method method,
                               const GptqOptions& options, ThreadPool& pool)
    : backend_(backend),
      checkpoint_(checkpoint),
      calibration_(calibration),
      method_(method),
      options_(options),
      pool_(pool),
      two_layers_(one_of_each(checkpoint.config().text)),
      rope_(checkpoint.config().text),
      workspace_(backend, checkpoint.config().text),
      sequences_(backend, two_layers_,
                 {.num_sequences = kStepSequences,
                  .num_tokens = std::max(kStepRows, longest_row(calibration)) +
                                kStepSequences * ops::kPageTokens}) {
  if (method == Method::rtn) return;
  const checkpoint::TextConfig& config = checkpoint.config().text;
  const auto table = checkpoint.get("model.language_model.embed_tokens.weight",
                                    {config.vocab_size, config.hidden_size});
  const TensorView embed{const_cast<std::byte*>(table.bytes.data()), table.dtype, table.shape, {}};
  for (const auto& row : calibration.rows) {
    const auto n = static_cast<std::int64_t>(row.size());
    const Tensor ids = backend.allocate(DType::i32, {n});
    const Tensor x = backend.allocate(DType::f32, {n, config.hidden_size});
    backend.upload(std::as_bytes(std::span(row)), ids);
    backend.embed(embed, ids, x);
    hidden_.push_back(to_host(backend, x));
  }
}

void LayerQuantizer::for_rows(const model::LayerWeights& weights, const Visit& visit, bool keep) {
  const checkpoint::TextConfig& config = checkpoint_.config().text;
  for (std::size_t first = 0; first < hidden_.size();) {
    check_interrupt();
    // Some rows side by side.
    std::vector<model::Sequence> sequences;
    ops::RaggedBatch batch;
    std::size_t last = first;
    for (; last < hidden_.size() && static_cast<std::int64_t>(last - first) < kStepSequences;
         ++last) {
      const auto n = static_cast<std::int64_t>(calibration_.rows[last].size());
      if (last > first && batch.num_rows + n > kStepRows) break;
      sequences.push_back(sequences_.create());
      auto segment = sequences_.segment(sequences.back(), n, false);
      segment.row_begin = batch.num_rows;
      batch.num_rows += n;
      batch.segments.push_back(std::move(segment));
    }
    const Tensor x = backend_.allocate(DType::f32, {batch.num_rows, config.hidden_size});
    std::vector<std::int32_t> positions(static_cast<std::size_t>(3 * batch.num_rows));
    for (std::size_t i = 0; i < batch.segments.size(); ++i) {
      const ops::Segment& s = batch.segments[i];
      backend_.upload(std::as_bytes(std::span(hidden_[first + i])),
                      x.view().rows(s.row_begin, s.num_rows));
      for (std::int64_t axis = 0; axis < 3; ++axis)
        for (std::int64_t t = 0; t < s.num_rows; ++t)
          positions[static_cast<std::size_t>(axis * batch.num_rows + s.row_begin + t)] =
              static_cast<std::int32_t>(t);
    }
    std::vector<float> turns(static_cast<std::size_t>(batch.num_rows * rope_.rotary_dim()));
    rope_.cos_sin(positions, batch.num_rows, turns.data());
    const Tensor cos_sin = backend_.allocate(DType::f32, {batch.num_rows, rope_.rotary_dim()});
    backend_.upload(std::as_bytes(std::span(turns)), cos_sin);
    workspace_.reserve(batch.num_rows);
    const model::StepContext context{backend_, config,          batch,
                                     cos_sin,  sequences_.kv(), sequences_.states()};
    model::LayerStep step(context, weights, workspace_, 0);
    visit(step, x);
    if (keep)
      for (std::size_t i = 0; i < batch.segments.size(); ++i) {
        const ops::Segment& s = batch.segments[i];
        backend_.download(x.view().rows(s.row_begin, s.num_rows),
                          std::as_writable_bytes(std::span(hidden_[first + i])));
      }
    first = last;
  }
}

ModuleResult LayerQuantizer::solve(const std::string& name, const model::LinearModule& module,
                                   const std::vector<double>& hessian, std::int64_t tokens) {
  const auto start = std::chrono::steady_clock::now();
  const auto source = checkpoint_.get(name + ".weight", {module.out_features, module.in_features});
  const auto weight =
      ops::dequantize(model::dense_part(source), {0, module.out_features}, {0, module.in_features});
  ModuleResult r{.name = name, .num_tokens = tokens};
  GptqOptions options = options_;
  if (options.group_size < 0) options.group_size = module.in_features;
  options.scale_rule.bits = options.bits;
  try {
    r.matrix = method_ == Method::rtn
                   ? quantize_rtn(weight, module.out_features, module.in_features,
                                  options.group_size, options.scale_rule)
                   : quantize_gptq(weight, module.out_features, module.in_features, hessian, tokens,
                                   options, pool_, &r.report);
  } catch (const Error& e) {
    throw Error(e.code(),
                fmt::format("{}: module {}: {}", checkpoint_.folder().string(), name, e.what()));
  }
  // What the file will hold, also where the codes were chosen for float32 scales.
  for (float& scale : r.matrix.scales) scale = f16_to_float(float_to_f16(scale));
  r.seconds = seconds_since(start);
  return r;
}

std::vector<ModuleResult> LayerQuantizer::quantize(
    std::int64_t layer, const std::function<void(const std::string&)>& step) {
  const checkpoint::TextConfig& config = checkpoint_.config().text;
  const auto groups = model::quantized_modules(config, layer);
  const std::string prefix = model::layer_prefix(layer);
  std::vector<ModuleResult> results;
  if (method_ == Method::rtn) {
    for (const auto& group : groups)
      for (const auto& module : group) {
        step(module.name);
        results.push_back(solve(prefix + module.name, module, {}, 0));
      }
    return results;
  }

  // Modules that are done are read from the results, the others from the checkpoint.
  const auto from_checkpoint = model::checkpoint_loader(checkpoint_);
  const auto loader = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    const auto done = std::ranges::find(results, name, &ModuleResult::name);
    return done == results.end() ? from_checkpoint(name, out, in) : to_module_weight(done->matrix);
  };
  model::LayerWeights weights = model::load_layer(backend_, checkpoint_, loader, layer);
  for (std::size_t point = 0; point < 4; ++point) {
    step("inputs of " + groups[point][0].name);
    Hessian hessian(groups[point][0].in_features);
    // The input of the point's modules; on the way to the third the mixer's part is final.
    const auto visit = [&](model::LayerStep& s, TensorView x) {
      TensorView input;
      switch (point) {
        case 0:
          input = s.mixer_input(x);
          break;
        case 1:
          input = s.mixer(s.mixer_input(x));
          break;
        case 2:
          s.mixer_output(s.mixer(s.mixer_input(x)), x);
          input = s.mlp_input(x);
          break;
        default:
          input = s.mlp(s.mlp_input(x));
      }
      hessian.add(to_host(backend_, input), pool_);
    };
    for_rows(weights, visit, point == 2);
    const std::int64_t tokens = hessian.num_rows();
    const auto h = hessian.take();
    for (const auto& module : groups[point]) {
      step(module.name);
      results.push_back(solve(prefix + module.name, module, h, tokens));
    }
    model::load_linears(backend_, config, loader, layer, point, weights);
  }
  step("output");
  for_rows(
      weights, [](model::LayerStep& s, TensorView x) { s.mlp_output(s.mlp(s.mlp_input(x)), x); },
      true);
  return results;
}

}  // namespace octet::quantize
