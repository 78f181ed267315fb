#include "model/text_model.h"

#include <algorithm>
#include <limits>

namespace octet::model {

namespace {

using Progress = std::function<void(std::int64_t, std::int64_t)>;

// 64 rows of a vocabulary of 248,320 are 64 MB.
constexpr std::int64_t kLogitPiece = 64;

// What was packed is not read again: its pages need not count as this process's memory.
void release_layer(const checkpoint::Checkpoint& checkpoint, std::int64_t layer) {
  const std::string prefix = layer_prefix(layer);
  for (const checkpoint::TensorInfo& t : checkpoint.tensors())
    if (checkpoint::Checkpoint::canonical_name(t.name).starts_with(prefix))
      t.file->release(t.bytes);
}

TextModel::Parts load_once(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                           const Progress& progress, WeightCache* cache) {
  const checkpoint::TextConfig& config = checkpoint.config().text;
  TextModel::Parts parts;
  parts.config = config;
  const Shape table{config.vocab_size, config.hidden_size};
  const auto embed = checkpoint.get("model.language_model.embed_tokens.weight", table);
  parts.embed_tokens = {const_cast<std::byte*>(embed.bytes.data()), embed.dtype, table, Device{}};
  const auto modules = checkpoint_loader(checkpoint);
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    parts.layers.push_back(load_layer(backend, checkpoint, modules, i, cache));
    release_layer(checkpoint, i);
    if (progress) progress(i + 1, config.num_hidden_layers);
  }
  parts.norm =
      load_f32(backend, checkpoint, "model.language_model.norm.weight", {config.hidden_size});
  // A tied head is the embedding; the lookup by name knows that.
  const auto head = checkpoint.get("lm_head.weight", table);
  const auto pack = [&] {
    const auto part = dense_part(head);
    return backend.pack_linear({&part, 1}, {.split = ops::Split::rows});
  };
  parts.lm_head =
      cache ? cache->linear("lm_head", config.hidden_size, config.vocab_size, pack) : pack();
  // A tied head's bytes are the embedding; its rows come back from the page cache as they are used.
  head.file->release(head.bytes);
  if (cache) cache->finish();
  return parts;
}

TextModel::Parts load(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                      const Progress& progress, WeightCache* cache) {
  checkpoint.require_text();
  try {
    return load_once(backend, checkpoint, progress, cache);
  } catch (const WeightCache::Unusable&) {
    return load_once(backend, checkpoint, progress, cache);  // it is off now
  }
}

}  // namespace

TextModel::TextModel(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                     const std::function<void(std::int64_t, std::int64_t)>& progress,
                     WeightCache* cache)
    : TextModel(backend, load(backend, checkpoint, progress, cache)) {}

TextModel::TextModel(ops::Backend& backend, Parts parts)
    : backend_(backend),
      parts_(std::move(parts)),
      rope_(parts_.config),
      workspace_(backend, parts_.config) {
  std::int64_t full = 0, linear = 0;
  for (const LayerWeights& layer : parts_.layers)
    cache_layer_.push_back(layer.self_attn ? full++ : linear++);
}

std::size_t TextModel::weight_bytes() const {
  std::size_t n = parts_.lm_head->bytes();
  for (const LayerWeights& layer : parts_.layers) n += layer.bytes();
  return n;
}

void TextModel::reserve(std::int64_t rows, std::int64_t logit_rows) {
  logit_rows = std::min(logit_rows, kLogitPiece);
  if (logit_rows > logit_rows_) {
    logits_ = backend_.allocate(DType::f32, {logit_rows, parts_.config.vocab_size});
    logit_rows_ = logit_rows;
  }
  workspace_.reserve(rows);
  if (rows <= rows_) return;
  const std::int64_t width = parts_.config.hidden_size;
  x_ = backend_.allocate(DType::f32, {rows, width});
  normed_ = backend_.allocate(DType::f32, {rows, width});
  cos_sin_ = backend_.allocate(DType::f32, {rows, rope_.rotary_dim()});
  ids_ = backend_.allocate(DType::i32, {rows});
  rows_ = rows;
}

std::size_t TextModel::workspace_bytes(const checkpoint::TextConfig& config, std::int64_t rows,
                                       std::int64_t logit_rows) {
  const std::int64_t own = 2 * config.hidden_size + config.rotary_dim() + 1;
  return static_cast<std::size_t>(rows * own +
                                  std::min(logit_rows, kLogitPiece) * config.vocab_size) *
             sizeof(float) +
         LayerWorkspace::bytes(config, rows);
}

TensorView TextModel::forward(std::span<const StepRows> step, SequencePool& pool) {
  // Everything that may fail comes first.
  ops::RaggedBatch batch;
  std::vector<std::int32_t> ids;
  for (const StepRows& rows : step) {
    const auto count = static_cast<std::int64_t>(rows.ids.size());
    for (const std::int32_t id : rows.ids)
      if (id < 0 || id >= parts_.config.vocab_size)
        fail(ErrorCode::invalid_argument, "token id {} is outside the vocabulary of {}", id,
             parts_.config.vocab_size);
    if (rows.sequence->length() + count > std::numeric_limits<std::int32_t>::max() / 2)
      fail(ErrorCode::invalid_argument, "a sequence of {} tokens is too long",
           rows.sequence->length() + count);
    OCTET_CHECK(rows.positions.empty() || rows.positions.size() == 3 * rows.ids.size(),
                "{} positions for {} rows", rows.positions.size(), rows.ids.size());
    auto segment = pool.segment(*rows.sequence, count, rows.draft);
    segment.row_begin = batch.num_rows;
    batch.num_rows += count;
    batch.segments.push_back(std::move(segment));
    ids.insert(ids.end(), rows.ids.begin(), rows.ids.end());
  }
  const std::int64_t n = batch.num_rows, width = parts_.config.hidden_size;
  reserve(n);
  std::vector<std::int32_t> positions(static_cast<std::size_t>(3 * n));
  for (std::size_t s = 0; s < step.size(); ++s)
    for (std::int64_t i = 0; i < batch.segments[s].num_rows; ++i)
      for (std::int64_t axis = 0; axis < 3; ++axis)
        positions[static_cast<std::size_t>(axis * n + batch.segments[s].row_begin + i)] =
            step[s].positions.empty()
                ? static_cast<std::int32_t>(batch.segments[s].past + i) +
                      step[s].sequence->rope_delta
                : step[s]
                      .positions[static_cast<std::size_t>(axis * batch.segments[s].num_rows + i)];
  std::vector<float> turns(static_cast<std::size_t>(n * rope_.rotary_dim()));
  rope_.cos_sin(positions, n, turns.data());

  const TensorView cos_sin = cos_sin_.view().rows(0, n), x = x_.view().rows(0, n);
  const TensorView id_rows = ids_.view().rows(0, n);
  backend_.upload(std::as_bytes(std::span(turns)), cos_sin);
  backend_.upload(std::as_bytes(std::span(ids)), id_rows);
  backend_.embed(parts_.embed_tokens, id_rows, x);
  if (observer) observer(-1, x);
  const StepContext context{backend_, parts_.config, batch, cos_sin, pool.kv(), pool.states()};
  for (std::size_t i = 0; i < parts_.layers.size(); ++i) {
    LayerStep(context, parts_.layers[i], workspace_, cache_layer_[i]).run(x);
    work_done_.fetch_add(1, std::memory_order_relaxed);
    if (observer) observer(static_cast<std::int64_t>(i), x);
  }
  const TensorView out{normed_.view().data(), DType::f32, {n, width}, backend_.device()};
  backend_.rms_norm(x, parts_.norm, static_cast<float>(parts_.config.rms_norm_eps), out);
  for (std::size_t s = 0; s < step.size(); ++s)
    pool.advance(*step[s].sequence, batch.segments[s].num_rows, step[s].draft);
  return out;
}

void TextModel::logits(TensorView hidden, std::span<const std::int32_t> indices,
                       std::vector<float>& out) {
  const std::int64_t vocab = parts_.config.vocab_size;
  const auto n = static_cast<std::int64_t>(indices.size());
  out.resize(static_cast<std::size_t>(n * vocab));
  for (std::int64_t first = 0; first < n; first += kLogitPiece) {
    const std::int64_t count = std::min(kLogitPiece, n - first);
    const Tensor rows = backend_.allocate(DType::i32, {count});
    backend_.upload(std::as_bytes(indices.subspan(static_cast<std::size_t>(first),
                                                  static_cast<std::size_t>(count))),
                    rows);
    const Tensor picked = backend_.allocate(DType::f32, {count, parts_.config.hidden_size});
    backend_.embed(hidden, rows, picked);
    reserve(0, count);
    const TensorView result = logits_.view().rows(0, count);
    backend_.linear(picked, *parts_.lm_head, result);
    backend_.download(result,
                      std::as_writable_bytes(std::span(out.data() + first * vocab,
                                                       static_cast<std::size_t>(count * vocab))));
    work_done_.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace octet::model
