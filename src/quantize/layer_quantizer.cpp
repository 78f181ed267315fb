#include "quantize/layer_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "quantize/columns.h"
#include "runtime/base/system.h"
#include "runtime/base/thread_pool.h"

namespace octet::quantize {

namespace {

constexpr std::int64_t kStepRows = 1024;  // tokens that pass a layer together
constexpr std::int64_t kStepSequences = 8;
// What a token counts for whose prediction is certain, over the mean: later tokens look at it.
constexpr double kLeastWeight = 0.3;
constexpr std::size_t kHeldOutEvery = 10;  // one row of so many judges the others

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

// The widest of what is kept between the parts of a layer.
std::int64_t kept_width(const checkpoint::TextConfig& config) {
  std::int64_t width = config.intermediate_size;
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    width = std::max(width, model::quantized_modules(config, layer)[1][0].in_features);
  return width;
}

// The entropy of a prediction, in nats: how much errors of its logits can cost. 0 where the model
// is sure: the KL divergence has the Hessian diag(p) - p p^T by the logits, which is 0 there.
float entropy(std::span<const float> logits) {
  const float top = *std::ranges::max_element(logits);
  double sum = 0, weighted = 0;  // of exp(x - top), and times x - top
  for (const float x : logits) {
    const double p = std::exp(static_cast<double>(x - top));
    sum += p;
    weighted += p * static_cast<double>(x - top);
  }
  return static_cast<float>(std::max(0.0, std::log(sum) - weighted / sum));
}

// 1 over the root mean square of each row of the residual stream.
void divide_by_norm(const std::vector<float>& residual, std::vector<float>& weights) {
  const std::size_t hidden = residual.size() / weights.size();
  for (std::size_t t = 0; t < weights.size(); ++t) {
    double sum = 0;
    for (std::size_t i = 0; i < hidden; ++i)
      sum += static_cast<double>(residual[t * hidden + i]) * residual[t * hidden + i];
    weights[t] /= static_cast<float>(std::sqrt(sum / static_cast<double>(hidden) + 1e-12));
  }
}

// Each row times its weight; no weights: all one.
void weigh(std::vector<float>& rows, const std::vector<float>& weights) {
  if (weights.empty()) return;
  const std::size_t width = rows.size() / weights.size();
  for (std::size_t t = 0; t < weights.size(); ++t)
    for (std::size_t i = 0; i < width; ++i) rows[t * width + i] *= weights[t];
}

// Outputs of the second and the last point's modules go to the residual stream.
bool adds_to_residual(std::size_t point) {
  return point % 2 == 1;
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

bool needs_reference(const GptqOptions& options) {
  return options.target_shift != 0 || options.residual_shift != 0 || options.foem_alpha != 0;
}

LayerQuantizer::LayerQuantizer(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                               const CalibrationSet& calibration, Method method,
                               const GptqOptions& options, const ArenaPlan& arena,
                               linalg::Linalg& linalg, comm::Communicator& ranks)
    : backend_(backend),
      checkpoint_(checkpoint),
      method_(method),
      options_(options),
      linalg_(linalg),
      ranks_(ranks),
      kernels_(choose_kernels(linalg.isa())),
      two_layers_(one_of_each(checkpoint.config().text)),
      rope_(checkpoint.config().text),
      workspace_(backend, checkpoint.config().text),
      sequences_(backend, two_layers_,
                 {.num_sequences = kStepSequences,
                  .num_tokens = std::max(kStepRows, longest_row(calibration)) +
                                kStepSequences * ops::kPageTokens}) {
  if (method == Method::rtn) return;
  for (std::size_t i = static_cast<std::size_t>(ranks.rank()); i < calibration.rows.size();
       i += static_cast<std::size_t>(ranks.size()))
    rows_.push_back(calibration.rows[i]);
  any_held_out_ = options.row_fallback && calibration.rows.size() >= kHeldOutEvery;
  const checkpoint::TextConfig& config = checkpoint.config().text;
  std::vector<std::int64_t> tokens;
  for (const auto& row : rows_) tokens.push_back(static_cast<std::int64_t>(row.size()));
  const auto store = [&](std::int64_t width) {
    return arena.spill ? std::make_unique<RowStore>(tokens, width, arena.folder)
                       : std::make_unique<RowStore>(tokens, width);
  };
  if (needs_reference(options)) reference_ = std::make_unique<Stream>();
  for (Stream* stream : {&real_, reference_.get()}) {
    if (!stream) continue;
    stream->hidden = store(config.hidden_size);
    if (arena.keep_inputs) stream->kept = store(kept_width(config));
  }
  embed_rows();
}

void LayerQuantizer::embed_rows() {
  const checkpoint::TextConfig& config = checkpoint_.config().text;
  const auto table = checkpoint_.get("model.language_model.embed_tokens.weight",
                                     {config.vocab_size, config.hidden_size});
  const TensorView embed{const_cast<std::byte*>(table.bytes.data()), table.dtype, table.shape, {}};
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const auto n = static_cast<std::int64_t>(rows_[i].size());
    const Tensor ids = backend_.allocate(DType::i32, {n});
    const Tensor x = backend_.allocate(DType::f32, {n, config.hidden_size});
    backend_.upload(std::as_bytes(std::span(rows_[i])), ids);
    backend_.embed(embed, ids, x);
    const auto values = to_host(backend_, x);
    real_.hidden->write(i, values);
    if (reference_) reference_->hidden->write(i, values);
  }
  table.file->release(table.bytes);
}

// Some rows side by side: their tensors and the step that computes them.
struct LayerQuantizer::RowBatch {
  RowBatch(LayerQuantizer& q, const Stream& stream, std::size_t begin, std::size_t end)
      : q_(q), begin_(begin) {
    const checkpoint::TextConfig& config = q.checkpoint_.config().text;
    for (std::size_t i = begin; i < end; ++i) {
      const auto n = static_cast<std::int64_t>(q.rows_[i].size());
      sequences_.push_back(q.sequences_.create());
      auto segment = q.sequences_.segment(sequences_.back(), n, false);
      segment.row_begin = batch_.num_rows;
      batch_.num_rows += n;
      batch_.segments.push_back(std::move(segment));
    }
    const std::int64_t rows = batch_.num_rows;
    std::vector<std::int32_t> positions(static_cast<std::size_t>(3 * rows));
    for (const ops::Segment& s : batch_.segments)
      for (std::int64_t axis = 0; axis < 3; ++axis)
        for (std::int64_t t = 0; t < s.num_rows; ++t)
          positions[static_cast<std::size_t>(axis * rows + s.row_begin + t)] =
              static_cast<std::int32_t>(t);
    std::vector<float> turns(static_cast<std::size_t>(rows * q.rope_.rotary_dim()));
    q.rope_.cos_sin(positions, rows, turns.data());
    cos_sin_ = q.backend_.allocate(DType::f32, {rows, q.rope_.rotary_dim()});
    q.backend_.upload(std::as_bytes(std::span(turns)), cos_sin_);
    q.workspace_.reserve(rows);
    x_ = load(*stream.hidden);
    context_ = std::make_unique<model::StepContext>(model::StepContext{
        q.backend_, config, batch_, cos_sin_, q.sequences_.kv(), q.sequences_.states()});
    step_ = std::make_unique<model::LayerStep>(*context_, stream.weights, q.workspace_, 0);
  }
  model::LayerStep& step() { return *step_; }
  TensorView x() { return x_; }

  // The rows' values on the backend.
  Tensor load(const RowStore& store) {
    Tensor t = q_.backend_.allocate(DType::f32, {batch_.num_rows, store.width()});
    std::vector<float> values;
    for (std::size_t i = 0; i < batch_.segments.size(); ++i) {
      const ops::Segment& s = batch_.segments[i];
      values.resize(static_cast<std::size_t>(s.num_rows * store.width()));
      store.read(begin_ + i, values);
      q_.backend_.upload(std::as_bytes(std::span(values)), t.view().rows(s.row_begin, s.num_rows));
    }
    return t;
  }
  void save(TensorView from, RowStore& store) {
    std::vector<float> values;
    for (std::size_t i = 0; i < batch_.segments.size(); ++i) {
      const ops::Segment& s = batch_.segments[i];
      values.resize(static_cast<std::size_t>(s.num_rows * store.width()));
      q_.backend_.download(from.rows(s.row_begin, s.num_rows),
                           std::as_writable_bytes(std::span(values)));
      store.write(begin_ + i, values);
    }
  }

 private:
  LayerQuantizer& q_;
  std::size_t begin_;
  std::vector<model::Sequence> sequences_;
  ops::RaggedBatch batch_;
  Tensor cos_sin_, x_;
  std::unique_ptr<model::StepContext> context_;
  std::unique_ptr<model::LayerStep> step_;
};

bool LayerQuantizer::held_out(std::size_t row) const {
  const std::size_t of_all =
      row * static_cast<std::size_t>(ranks_.size()) + static_cast<std::size_t>(ranks_.rank());
  return options_.row_fallback && of_all % kHeldOutEvery == kHeldOutEvery - 1;
}

// Rows in batches; held-out rows are never beside others.
void LayerQuantizer::for_batches(const std::function<void(std::size_t, std::size_t)>& body) {
  const auto& rows = rows_;
  for (std::size_t first = 0; first < rows.size();) {
    check_interrupt();
    auto tokens = static_cast<std::int64_t>(rows[first].size());
    std::size_t last = first + 1;
    for (; last < rows.size() && static_cast<std::int64_t>(last - first) < kStepSequences; ++last) {
      tokens += static_cast<std::int64_t>(rows[last].size());
      if (tokens > kStepRows || held_out(first) || held_out(last)) break;
    }
    body(first, last);
    first = last;
  }
}

// The input of a point's modules for some rows. On the way to the third point the mixer's part of
// the residual stream becomes final. What the next part of the layer starts from is kept, or
// computed again.
LayerQuantizer::PointInputs LayerQuantizer::inputs(Stream& stream, std::size_t begin,
                                                   std::size_t end, std::size_t point) {
  RowBatch batch(*this, stream, begin, end);
  model::LayerStep& s = batch.step();
  const auto keep = [&](TensorView values) {
    if (!stream.kept) return;
    stream.kept->set_width(values.dim(1));
    batch.save(values, *stream.kept);
  };
  TensorView input;
  Tensor core;
  switch (point) {
    case 0:
      input = s.mixer_input(batch.x());
      break;
    case 1:
      input = s.mixer(s.mixer_input(batch.x()));
      keep(input);
      break;
    case 2:
      if (stream.kept) core = batch.load(*stream.kept);
      s.mixer_output(stream.kept ? core.view() : s.mixer(s.mixer_input(batch.x())), batch.x());
      batch.save(batch.x(), *stream.hidden);
      input = s.mlp_input(batch.x());
      break;
    default:
      input = s.mlp(s.mlp_input(batch.x()));
      keep(input);
  }
  PointInputs result{.values = to_host(backend_, input), .residual = {}};
  if (adds_to_residual(point) && (options_.token_weights || options_.residual_shift != 0))
    result.residual = to_host(backend_, batch.x());
  return result;
}

// Square roots of what the tokens of some rows count at a point.
std::vector<float> LayerQuantizer::weights_of(std::size_t begin, std::size_t end,
                                              const std::vector<float>& residual) const {
  std::vector<float> weights;
  for (std::size_t i = begin; i < end; ++i)
    weights.insert(weights.end(), token_weights_[i].begin(), token_weights_[i].end());
  if (!residual.empty()) divide_by_norm(residual, weights);
  return weights;
}

void LayerQuantizer::weigh_tokens(const std::function<void(const std::string&)>& step) {
  token_weights_.clear();
  if (method_ == Method::rtn || !options_.token_weights) return;
  const checkpoint::TextConfig& config = checkpoint_.config().text;
  Stream& stream = reference_ ? *reference_ : real_;
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    step(fmt::format("weights of the tokens, layer {}", layer));
    stream.weights = {};
    {
      const Stopwatch watch(seconds_.load);
      stream.weights =
          model::load_layer(backend_, checkpoint_, model::checkpoint_loader(checkpoint_), layer);
    }
    const Stopwatch watch(seconds_.forward);
    for_batches([&](std::size_t begin, std::size_t end) {
      RowBatch batch(*this, stream, begin, end);
      batch.step().run(batch.x());
      batch.save(batch.x(), *stream.hidden);
    });
  }
  stream.weights = {};
  step("weights of the tokens, output");
  const Stopwatch watch(seconds_.forward);
  const Tensor norm = model::load_f32(backend_, checkpoint_, "model.language_model.norm.weight",
                                      {config.hidden_size});
  const auto table = checkpoint_.get("lm_head.weight", {config.vocab_size, config.hidden_size});
  const ops::LinearPart part = model::dense_part(table);
  const auto head = backend_.pack_linear(std::span(&part, 1));
  table.file->release(table.bytes);
  double sums[2] = {};  // of the weights, of the tokens
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    check_interrupt();
    const auto tokens = static_cast<std::int64_t>(rows_[row].size());
    std::vector<float> hidden(static_cast<std::size_t>(tokens * config.hidden_size));
    stream.hidden->read(row, hidden);
    auto& weights = token_weights_.emplace_back();
    constexpr std::int64_t kPiece = 64;  // the logits of more would be hundreds of megabytes
    for (std::int64_t t = 0; t < tokens; t += kPiece) {
      const std::int64_t n = std::min(kPiece, tokens - t);
      const Tensor x = backend_.allocate(DType::f32, {n, config.hidden_size});
      const Tensor normed = backend_.allocate(DType::f32, {n, config.hidden_size});
      const Tensor logits = backend_.allocate(DType::f32, {n, config.vocab_size});
      backend_.upload(std::as_bytes(std::span(hidden).subspan(
                          static_cast<std::size_t>(t * config.hidden_size),
                          static_cast<std::size_t>(n * config.hidden_size))),
                      x);
      backend_.rms_norm(x, norm, config.rms_norm_eps, normed);
      backend_.linear(normed, *head, logits);
      const auto values = to_host(backend_, logits);
      std::vector<float> piece(static_cast<std::size_t>(n));
      linalg_.pool().parallel_for(n, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t i = begin; i < end; ++i)
          piece[static_cast<std::size_t>(i)] =
              entropy(std::span(values).subspan(static_cast<std::size_t>(i * config.vocab_size),
                                                static_cast<std::size_t>(config.vocab_size)));
      });
      weights.insert(weights.end(), piece.begin(), piece.end());
      for (const float w : piece) sums[0] += w;
      sums[1] += static_cast<double>(n);
    }
  }
  ranks_.sum(sums);
  const double mean = sums[0] > 0 ? sums[0] / sums[1] : 1;
  for (auto& row : token_weights_)
    for (float& w : row) w = static_cast<float>(std::sqrt(w / mean + kLeastWeight));
  embed_rows();
}

// The residual stream after the layer.
void LayerQuantizer::finish_layer() {
  const Stopwatch watch(seconds_.forward);
  for_batches([&](std::size_t begin, std::size_t end) {
    for (Stream* stream : {&real_, reference_.get()}) {
      if (!stream) continue;
      RowBatch batch(*this, *stream, begin, end);
      model::LayerStep& s = batch.step();
      Tensor act;
      if (stream->kept) act = batch.load(*stream->kept);
      s.mlp_output(stream->kept ? act.view() : s.mlp(s.mlp_input(batch.x())), batch.x());
      batch.save(batch.x(), *stream->hidden);
    }
  });
}

InputStatistics LayerQuantizer::statistics(std::size_t point, std::int64_t in_features) {
  const bool makes_good = reference_ && adds_to_residual(point) && options_.residual_shift != 0;
  InputSums sums(in_features, reference_ != nullptr, any_held_out_,
                 makes_good ? checkpoint_.config().text.hidden_size : 0);
  for_batches([&](std::size_t begin, std::size_t end) {
    PointInputs x, y;
    {
      const Stopwatch watch(seconds_.forward);
      x = inputs(real_, begin, end, point);
      if (reference_) y = inputs(*reference_, begin, end, point);
    }
    const Stopwatch watch(seconds_.statistics);
    // Both streams by the same weights: their difference is what counts.
    std::vector<float> weights;
    if (options_.token_weights)
      weights = weights_of(begin, end, reference_ ? y.residual : x.residual);
    weigh(x.values, weights);
    if (held_out(begin)) {
      sums.add_held_out(x.values, linalg_);
      return;
    }
    weigh(y.values, weights);
    if (makes_good) {
      for (std::size_t i = 0; i < y.residual.size(); ++i) y.residual[i] -= x.residual[i];
      weigh(y.residual, weights);
    }
    sums.add(x.values, y.values, linalg_,
             makes_good ? std::span<const float>(y.residual) : std::span<const float>());
  });
  const Stopwatch watch(seconds_.statistics);
  if (!ranks_.alone()) {
    double rows[2] = {static_cast<double>(sums.num_rows()),
                      static_cast<double>(sums.held_out_rows())};
    ranks_.sum(rows);
    sums.set_rows(static_cast<std::int64_t>(rows[0]), static_cast<std::int64_t>(rows[1]));
    ranks_.sum(sums.hessian_sums());
    ranks_.sum(sums.shift_sums());
    ranks_.sum(sums.residual_sums());
    ranks_.sum(sums.held_out_sums());
  }
  return sums.take();
}

// This rank's share of the module's outputs is solved here, then everybody gets everything.
// Outputs are independent of each other: the shares change no bits.
void LayerQuantizer::solve_part(std::span<const float> weight, const model::LinearModule& module,
                                Solver* solver, ModuleResult& r) {
  const std::int64_t n = module.out_features, k = module.in_features;
  const std::int64_t share = padded_lanes((n + ranks_.size() - 1) / ranks_.size());
  const std::int64_t begin = std::min(n, share * ranks_.rank()),
                     count = std::min(n, begin + share) - begin;
  const auto part =
      weight.subspan(static_cast<std::size_t>(begin * k), static_cast<std::size_t>(count * k));
  if (count > 0)
    r.matrix = solver ? solver->solve(part, count, &r.report, begin)
                      : quantize_rtn(part, count, k, group_size(k), options_.scale_rule, kernels_,
                                     linalg_.pool());
  if (ranks_.alone()) return;
  const auto codes = ranks_.gather(std::as_bytes(std::span(r.matrix.codes)));
  const auto scales = ranks_.gather(std::as_bytes(std::span(r.matrix.scales)));
  const auto reports = ranks_.gather(std::as_bytes(std::span(&r.report, 1)));
  QuantizedMatrix all{n, k, options_.scale_rule.bits, group_size(k), {}, {}};
  all.codes.resize(static_cast<std::size_t>(n * k));
  all.scales.resize(static_cast<std::size_t>(n * all.num_groups()));
  auto* to_codes = reinterpret_cast<std::byte*>(all.codes.data());
  auto* to_scales = reinterpret_cast<std::byte*>(all.scales.data());
  for (std::size_t rank = 0; rank < codes.size(); ++rank) {
    to_codes = std::ranges::copy(codes[rank], to_codes).out;
    to_scales = std::ranges::copy(scales[rank], to_scales).out;
    GptqReport other;
    std::memcpy(&other, reports[rank].data(), sizeof other);
    if (rank == 0) {
      r.report = other;
      continue;
    }
    r.report.loss += other.loss;
    r.report.clipped += other.clipped;
    r.report.plain_rows += other.plain_rows;
    r.report.error_norm += other.error_norm;
    r.report.weight_norm += other.weight_norm;
  }
  if (r.report.weight_norm > 0)
    r.report.relative_error = r.report.error_norm / r.report.weight_norm;
  r.matrix = std::move(all);
}

ModuleResult LayerQuantizer::solve(const std::string& name, const model::LinearModule& module,
                                   Solver* solver, std::int64_t tokens) {
  const Stopwatch watch(seconds_.solve);
  const auto start = std::chrono::steady_clock::now();
  const auto source = checkpoint_.get(name + ".weight", {module.out_features, module.in_features});
  const auto weight =
      ops::dequantize(model::dense_part(source), {0, module.out_features}, {0, module.in_features});
  ModuleResult r{.name = name, .num_tokens = tokens};
  try {
    solve_part(weight, module, solver, r);
  } catch (const Error& e) {
    throw Error(e.code(),
                fmt::format("{}: module {}: {}", checkpoint_.folder().string(), name, e.what()));
  }
  source.file->release(source.bytes);
  // What the file will hold, also where the codes were chosen for float32 scales.
  for (float& scale : r.matrix.scales) scale = f16_to_float(float_to_f16(scale));
  r.seconds = seconds_since(start);
  return r;
}

std::int64_t LayerQuantizer::group_size(std::int64_t in_features) const {
  return options_.group_size < 0 ? in_features : options_.group_size;
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
        results.push_back(solve(prefix + module.name, module, nullptr, 0));
      }
    return results;
  }
  const auto loader = loader_of(results);
  load(layer, loader);
  for (std::size_t point = 0; point < 4; ++point) {
    const std::int64_t in_features = groups[point][0].in_features;
    step("inputs of " + groups[point][0].name);
    auto sums = statistics(point, in_features);
    const std::int64_t tokens = sums.num_rows;
    GptqOptions options = options_;
    options.group_size = group_size(in_features);
    std::unique_ptr<Solver> solver;
    try {
      const Stopwatch watch(seconds_.factor);
      solver = std::make_unique<Solver>(std::move(sums), options, kernels_, linalg_);
    } catch (const Error& e) {
      throw Error(e.code(), fmt::format("{}: module {}{}: {}", checkpoint_.folder().string(),
                                        prefix, groups[point][0].name, e.what()));
    }
    for (const auto& module : groups[point]) {
      step(module.name);
      results.push_back(solve(prefix + module.name, module, solver.get(), tokens));
    }
    solver.reset();
    const Stopwatch watch(seconds_.load);
    model::load_linears(backend_, config, loader, layer, point, real_.weights);
  }
  step("output");
  finish_layer();
  return results;
}

void LayerQuantizer::replay(std::int64_t layer, const model::ModuleLoader& done) {
  if (method_ == Method::rtn) return;
  load(layer, done);
  const Stopwatch watch(seconds_.forward);
  for_batches([&](std::size_t begin, std::size_t end) {
    for (Stream* stream : {&real_, reference_.get()}) {
      if (!stream) continue;
      RowBatch batch(*this, *stream, begin, end);
      batch.step().run(batch.x());
      batch.save(batch.x(), *stream->hidden);
    }
  });
}

// Modules that are done are read from `done`, the others from the checkpoint.
model::ModuleLoader LayerQuantizer::loader_of(const std::vector<ModuleResult>& done) const {
  return [&done, source = model::checkpoint_loader(checkpoint_)](
             const std::string& name, std::int64_t out, std::int64_t in) {
    const auto found = std::ranges::find(done, name, &ModuleResult::name);
    return found == done.end() ? source(name, out, in) : to_module_weight(found->matrix);
  };
}

void LayerQuantizer::load(std::int64_t layer, const model::ModuleLoader& modules) {
  const Stopwatch watch(seconds_.load);
  // The old layers go first: two layers at once are planned for, not three.
  real_.weights = {};
  if (reference_) reference_->weights = {};
  real_.weights = model::load_layer(backend_, checkpoint_, modules, layer);
  if (reference_)
    reference_->weights =
        model::load_layer(backend_, checkpoint_, model::checkpoint_loader(checkpoint_), layer);
}

}  // namespace octet::quantize
