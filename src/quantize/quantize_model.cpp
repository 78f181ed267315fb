#include "quantize/quantize_model.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <unordered_map>

#include "checkpoint/safetensors_writer.h"
#include "quantize/output_folder.h"
#include "runtime/base/system.h"

namespace octet::quantize {

namespace {

using checkpoint::TensorInfo;
using checkpoint::TensorPlan;

// The layer of a canonical name; -1 for what belongs to none.
std::int64_t layer_of(const std::string& name) {
  constexpr std::string_view kPrefix = "model.language_model.layers.";
  return name.starts_with(kPrefix) ? std::stoll(name.substr(kPrefix.size())) : -1;
}

// What is written, in order: tensors outside the layers, then layer by layer, so that a layer can
// be written as soon as it is done. Sources of copied tensors by canonical name.
struct Plan {
  std::unique_ptr<checkpoint::Checkpoint> mtp;  // where tensors come from that the source lacks
  std::vector<TensorPlan> tensors;
  std::vector<std::vector<std::string>> copied;           // [0] outside, [1 + layer]
  std::vector<std::vector<model::LinearModule>> modules;  // by layer
  std::uint64_t bytes = 0, source_bytes = 0;
  std::int64_t bits = 8, group_size = 32;
};

void plan_module(Plan& plan, const std::string& name, const model::LinearModule& m,
                 const GptqOptions& options) {
  const std::int64_t group = options.group_size < 0 ? m.in_features : options.group_size;
  if (m.out_features % 32 != 0 || m.in_features % 32 != 0 || m.in_features % group != 0)
    fail(ErrorCode::invalid_argument,
         "module {} of {} x {} can't be packed with groups of {}; use another --group-size", name,
         m.out_features, m.in_features, group);
  const std::int64_t groups = m.in_features / group, bits = options.scale_rule.bits;
  plan.tensors.push_back(
      {name + ".qweight", DType::i32, {m.in_features * bits / 32, m.out_features}});
  plan.tensors.push_back({name + ".qzeros", DType::i32, {groups, m.out_features * bits / 32}});
  plan.tensors.push_back({name + ".scales", DType::f16, {groups, m.out_features}});
  plan.tensors.push_back({name + ".g_idx", DType::i32, {m.in_features}});
}

// The other checkpoint's MTP tensors, which must fit the source's hidden states.
void add_mtp(Plan& plan, const checkpoint::Checkpoint& source, const std::filesystem::path& from) {
  plan.mtp = std::make_unique<checkpoint::Checkpoint>(checkpoint::Checkpoint::open(from));
  const auto &ours = source.config().text, &theirs = plan.mtp->config().text;
  if (source.has_mtp())
    fail(ErrorCode::invalid_argument,
         "--mtp-from {}: {} has its own MTP tensors; leave the flag out", from.string(),
         source.folder().string());
  if (!plan.mtp->has_mtp() || ours.hidden_size != theirs.hidden_size)
    fail(ErrorCode::invalid_argument,
         "--mtp-from {}: expected a checkpoint with all MTP tensors and hidden_size {}, found {} "
         "and "
         "hidden_size {}",
         from.string(), ours.hidden_size, plan.mtp->has_mtp() ? "them" : "none",
         theirs.hidden_size);
  for (const TensorInfo& t : plan.mtp->tensors()) {
    const std::string name = checkpoint::Checkpoint::canonical_name(t.name);
    if (!name.starts_with("mtp.") || source.find(name)) continue;
    plan.copied[0].push_back(name);
    plan.tensors.push_back({name, t.dtype, t.shape});
  }
}

Plan make_plan(const checkpoint::Checkpoint& source, const QuantizeOptions& all) {
  const GptqOptions& options = all.gptq;
  const checkpoint::TextConfig& config = source.config().text;
  Plan plan{.bits = options.scale_rule.bits, .group_size = options.group_size};
  plan.copied.resize(static_cast<std::size_t>(config.num_hidden_layers + 1));
  std::vector<std::vector<const TensorInfo*>> by_layer(plan.copied.size());
  for (const TensorInfo& t : source.tensors()) {
    plan.source_bytes += t.bytes.size();
    const std::int64_t layer = layer_of(checkpoint::Checkpoint::canonical_name(t.name));
    if (layer >= config.num_hidden_layers)
      fail(ErrorCode::bad_data, "{}: tensor {} is of layer {}, the configuration has {}",
           source.folder().string(), t.name, layer, config.num_hidden_layers);
    by_layer[static_cast<std::size_t>(layer + 1)].push_back(&t);
  }
  if (!all.mtp_from.empty()) add_mtp(plan, source, all.mtp_from);
  for (std::size_t i = 0; i < by_layer.size(); ++i) {
    const std::string prefix = i > 0 ? model::layer_prefix(static_cast<std::int64_t>(i) - 1) : "";
    std::vector<model::LinearModule> modules;
    if (i > 0)
      for (const auto& group : model::quantized_modules(config, static_cast<std::int64_t>(i) - 1))
        modules.insert(modules.end(), group.begin(), group.end());
    for (const TensorInfo* t : by_layer[i]) {
      const std::string name = checkpoint::Checkpoint::canonical_name(t->name);
      if (std::ranges::any_of(modules,
                              [&](const auto& m) { return name == prefix + m.name + ".weight"; }))
        continue;
      plan.copied[i].push_back(name);
      plan.tensors.push_back({name, t->dtype, t->shape});
    }
    for (const auto& m : modules) plan_module(plan, prefix + m.name, m, options);
    if (i > 0) plan.modules.push_back(std::move(modules));
  }
  for (const TensorPlan& t : plan.tensors) plan.bytes += t.bytes();
  return plan;
}

void validate(const checkpoint::Checkpoint& source, const QuantizeOptions& options) {
  if (options.gptq.scale_rule.bits != 8 && options.gptq.scale_rule.bits != 4)
    fail(ErrorCode::invalid_argument, "--bits {}: expected 8 or 4", options.gptq.scale_rule.bits);
  const std::int64_t group = options.gptq.group_size;
  if (group != 32 && group != 64 && group != 128 && group != -1)
    fail(ErrorCode::invalid_argument, "--group-size {}: expected 32, 64, 128 or -1 (whole row)",
         group);
  if (!(options.gptq.damp_percent > 0 && options.gptq.damp_percent < 1))
    fail(ErrorCode::invalid_argument, "--damp {}: expected a number between 0 and 1",
         options.gptq.damp_percent);
  if (source.config().quantization)
    fail(ErrorCode::invalid_argument, "{} is quantized already; start from the 16-bit checkpoint",
         source.folder().string());
  source.require_text();
}

void require_finite(const checkpoint::Checkpoint& source, const std::string& name) {
  const TensorInfo& t = *source.find(name);
  if (const std::int64_t i = first_non_finite(t.dtype, t.bytes); i >= 0)
    fail(ErrorCode::bad_data,
         "{}: tensor {}: element {} is infinite or NaN; fetch the checkpoint again",
         t.file->path().string(), t.name, i);
}

// A fingerprint of codes and scales, to compare what was meant with what is in the file.
struct Fingerprint {
  std::uint64_t value = 1469598103934665603u;
  void add(std::span<const std::byte> bytes) {
    for (const std::byte b : bytes)
      value = (value ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
  }
};

std::uint64_t fingerprint(const model::ModuleWeight& m) {
  Fingerprint f;
  f.add({m.part.codes.codes, static_cast<std::size_t>(m.part.out_features * m.part.in_features)});
  f.add(std::as_bytes(std::span(m.part.codes.scales)));
  return f.value;
}

// Reads the result as a user would and compares every module with what was meant.
void read_back(const std::filesystem::path& folder, const Plan& plan,
               const std::vector<ModuleLine>& meant) {
  const auto written = checkpoint::Checkpoint::open(folder);
  written.require_text();
  const auto load = model::checkpoint_loader(written);
  std::unordered_map<std::string, std::uint64_t> expected;
  for (const ModuleLine& m : meant) expected[m.name] = m.fingerprint;
  for (std::size_t layer = 0; layer < plan.modules.size(); ++layer)
    for (const auto& m : plan.modules[layer]) {
      const std::string name = model::layer_prefix(static_cast<std::int64_t>(layer)) + m.name;
      if (fingerprint(load(name, m.out_features, m.in_features)) != expected.at(name))
        fail(ErrorCode::unavailable,
             "{}: module {} reads back other values than were written; check the disk",
             folder.string(), name);
      for (const char* part : {".qweight", ".qzeros", ".scales"})
        if (const auto* t = written.find(name + part)) t->file->release(t->bytes);
    }
}

// A layer of the source that is done leaves memory.
void release_layer(const checkpoint::Checkpoint& source, std::int64_t layer) {
  for (const TensorInfo& t : source.tensors())
    if (layer_of(checkpoint::Checkpoint::canonical_name(t.name)) == layer) t.file->release(t.bytes);
}

// Writes what is done; after a layer, the state too.
class Writer {
 public:
  Writer(const checkpoint::Checkpoint& source, const Plan& plan, std::uint64_t shard_bytes,
         OutputFolder& folder, RunState& state)
      : source_(source),
        plan_(plan),
        folder_(folder),
        state_(state),
        shards_(folder.path(), plan.tensors, shard_bytes, state.tensors_written) {}

  void copy(std::size_t part) {
    for (const std::string& name : plan_.copied[part]) {
      const auto& from = source_.find(name) ? source_ : *plan_.mtp;
      require_finite(from, name);
      const auto* tensor = from.find(name);
      shards_.add(name, tensor->bytes);
      tensor->file->release(tensor->bytes);
    }
  }

  void layer(std::int64_t layer, const std::vector<ModuleResult>& modules) {
    copy(static_cast<std::size_t>(layer + 1));
    for (const ModuleResult& m : modules) {
      const auto packed =
          checkpoint::pack_gptq(m.matrix.codes, m.matrix.scales, m.matrix.out_features,
                                m.matrix.in_features, m.matrix.bits, m.matrix.group_size);
      shards_.add(m.name + ".qweight", packed.qweight);
      shards_.add(m.name + ".qzeros", packed.qzeros);
      shards_.add(m.name + ".scales", packed.scales);
      shards_.add(m.name + ".g_idx", packed.g_idx);
      state_.modules.push_back(
          {m.name, m.report, m.num_tokens, m.seconds, fingerprint(to_module_weight(m.matrix))});
    }
    state_.layers_done = layer + 1;
  }

  // Tensors first, then the state that counts on them.
  void save() {
    state_.tensors_written = shards_.sync();
    save_state(state_, folder_.path());
    folder_.keep();
  }

  // A module that an earlier run wrote; those that are not quantized come from the source.
  model::ModuleWeight read_back(const std::string& name, std::int64_t out, std::int64_t in) {
    const auto meant = std::ranges::find(state_.modules, name, &ModuleLine::name);
    if (meant == state_.modules.end()) return model::checkpoint_loader(source_)(name, out, in);
    const std::int64_t bits = plan_.bits, group = plan_.group_size < 0 ? in : plan_.group_size;
    checkpoint::GptqLinear linear{.out_features = out,
                                  .in_features = in,
                                  .bits = bits,
                                  .group_size = group,
                                  .num_groups = in / group};
    kept_.clear();
    const auto tensor = [&](const char* what, DType type, Shape shape) {
      kept_.push_back(shards_.read_back(name + what));
      return TensorInfo{
          .name = name + what, .dtype = type, .shape = std::move(shape), .bytes = kept_.back()};
    };
    kept_.reserve(3);
    linear.qweight = tensor(".qweight", DType::i32, {in * bits / 32, out});
    linear.qzeros = tensor(".qzeros", DType::i32, {in / group, out * bits / 32});
    linear.scales = tensor(".scales", DType::f16, {in / group, out});
    model::ModuleWeight m = model::gptq_weight(linear);
    if (m.storage.empty()) {
      m.storage = kept_[0];
      m.part.codes.codes = m.storage.data();
    }
    if (fingerprint(m) != meant->fingerprint)
      fail(ErrorCode::bad_data,
           "{}: module {} of the unfinished run is damaged; start again with --overwrite",
           folder_.path().string(), name);
    return m;
  }

  void finish() { shards_.finish(); }

 private:
  const checkpoint::Checkpoint& source_;
  const Plan& plan_;
  OutputFolder& folder_;
  RunState& state_;
  checkpoint::ShardWriter shards_;
  std::vector<std::vector<std::byte>> kept_;
};

std::int64_t number_from_first(std::int64_t n, comm::Communicator& ranks) {
  const auto bytes = ranks.from_first(std::as_bytes(std::span(&n, 1)));
  std::memcpy(&n, bytes.data(), sizeof n);
  return n;
}

// A module of an unfinished run on every rank; only the first has the files.
model::ModuleWeight shared_module(Writer* writer, const checkpoint::Checkpoint& source,
                                  const Plan& plan, const std::string& name, std::int64_t out,
                                  std::int64_t in, comm::Communicator& ranks) {
  if (ranks.alone()) return writer->read_back(name, out, in);
  const bool quantized = std::ranges::any_of(plan.modules, [&](const auto& layer) {
    return std::ranges::any_of(layer, [&](const auto& m) { return name.ends_with("." + m.name); });
  });
  if (!quantized) return model::checkpoint_loader(source)(name, out, in);
  model::ModuleWeight m;
  if (writer) m = writer->read_back(name, out, in);
  m.storage = ranks.from_first(m.storage);
  const auto scales = ranks.from_first(std::as_bytes(std::span(m.part.codes.scales)));
  const auto zeros = ranks.from_first(std::as_bytes(std::span(m.part.codes.zeros)));
  m.part.out_features = out;
  m.part.in_features = in;
  m.part.quantized = true;
  m.part.codes.codes = m.storage.data();
  m.part.codes.group_size = plan.group_size < 0 ? in : plan.group_size;
  m.part.codes.scales.resize(scales.size() / sizeof(float));
  std::memcpy(m.part.codes.scales.data(), scales.data(), scales.size());
  m.part.codes.zeros.resize(zeros.size());
  std::memcpy(m.part.codes.zeros.data(), zeros.data(), zeros.size());
  return m;
}

}  // namespace

QuantizeForecast forecast(const checkpoint::Checkpoint& source, const CalibrationSet& calibration,
                          const QuantizeOptions& options) {
  validate(source, options);
  std::vector<std::int64_t> tokens;
  if (options.method == Method::gptq)
    for (const auto& row : calibration.rows)
      tokens.push_back(static_cast<std::int64_t>(row.size()));
  return {
      plan_quantize(source.config().text, tokens, options.method, options.gptq, options.max_memory),
      make_plan(source, options).bytes};
}

QuantizeResult quantize_model(const checkpoint::Checkpoint& source,
                              const CalibrationSet& calibration,
                              const std::filesystem::path& output, const QuantizeOptions& options,
                              ops::Backend& backend, linalg::Linalg& linalg,
                              comm::Communicator& ranks, const QuantizeProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  const QuantizePlan memory = forecast(source, calibration, options).plan;
  const Plan plan = make_plan(source, options);
  QuantizeResult result{.output = output,
                        .source_bytes = plan.source_bytes,
                        .output_bytes = plan.bytes,
                        .planned_bytes = memory.peak_bytes};
  const bool calibrated = options.method == Method::gptq;
  if (calibrated) {
    result.calibration_rows = static_cast<std::int64_t>(calibration.rows.size());
    result.calibration_tokens = calibration.num_tokens;
    result.calibration_sha256 = calibration.sha256;
    result.calibration_seed = calibration.seed;
    result.calibration_parts = calibration.parts;
  }
  if (calibrated && std::ssize(calibration.rows) < ranks.size())
    fail(ErrorCode::invalid_argument, "{} calibration rows for {} ranks; start fewer",
         calibration.rows.size(), ranks.size());
  RunState state;
  state.settings =
      run_settings(source, options, result.calibration_sha256,
                   fmt::format("{} {}, ranks {}", backend.name(), linalg.isa(), ranks.size()));
  const bool first = ranks.rank() == 0;
  std::optional<OutputFolder> folder;
  if (first) {
    folder.emplace(output, source.folder(), options.overwrite,
                   plan.bytes + memory.spill_bytes + (64u << 20), state.settings);
    if (folder->resumed()) state = *folder->resumed();
  }
  result.resumed_layers = state.layers_done;
  result.resumed_layers = number_from_first(result.resumed_layers, ranks);
  const std::int64_t layers = source.config().text.num_hidden_layers;
  const auto tell = [&](std::int64_t layer, const std::string& what) {
    check_interrupt();
    if (progress) progress(layer, layers, what);
  };
  tell(0, "rows of the calibration text");
  std::optional<Writer> writer;
  if (first) {
    writer.emplace(source, plan, options.shard_bytes, *folder, state);
    if (state.tensors_written == 0) writer->copy(0);
  }
  ArenaPlan arena = memory.arena;
  arena.folder = first ? folder->path() : std::filesystem::temp_directory_path();
  LayerQuantizer quantizer(backend, source, calibration, options.method, options.gptq, arena,
                           linalg, ranks);
  quantizer.weigh_tokens([&](const std::string& what) { tell(0, what); });
  const PhaseSeconds earlier_phases = state.seconds;
  const double earlier = state.total_seconds;
  const auto phases = [&] { return sum(earlier_phases, quantizer.seconds()); };
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    if (layer < result.resumed_layers) {
      tell(layer, fmt::format("layer {}, as an earlier run left it", layer));
      quantizer.replay(layer, [&](const std::string& name, std::int64_t out, std::int64_t in) {
        return shared_module(writer ? &*writer : nullptr, source, plan, name, out, in, ranks);
      });
      continue;
    }
    for (const auto& m : plan.modules[static_cast<std::size_t>(layer)])
      require_finite(source, model::layer_prefix(layer) + m.name + ".weight");
    const auto modules = quantizer.quantize(layer, [&](const std::string& what) {
      tell(layer, fmt::format("layer {}, {}", layer, what));
    });
    release_layer(source, layer);
    if (!first) continue;
    const Stopwatch watch(quantizer.seconds().write);
    writer->layer(layer, modules);
    state.seconds = phases();
    state.total_seconds = earlier + seconds_since(start);
    writer->save();
    if (options.on_layer) options.on_layer(std::span(state.modules).last(modules.size()));
  }
  if (first) {
    writer->finish();
    write_configuration(source, options, folder->path());
    if (calibrated) write_calibration(calibration, folder->path() / "calibration_ids.jsonl");
    if (progress) progress(layers, layers, "reading the result back");
    read_back(folder->path(), plan, state.modules);
    result.modules = state.modules;
    result.phases = phases();
    result.seconds = earlier + seconds_since(start);
    write_report(source, result, options, folder->path());
    folder->commit();
  }
  // Nobody leaves before the result is there.
  ranks.from_first({});
  return result;
}

}  // namespace octet::quantize
