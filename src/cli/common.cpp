#include "cli/common.h"

#include <CLI/Error.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <future>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "checkpoint/inventory.h"
#include "checkpoint/locate.h"
#include "cli/suggestion.h"
#include "model/synthetic.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/numa.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"
#include "runtime/base/text_file.h"
#include "runtime/ops/make_backend.h"

namespace octet::cli {

void ComputeOptions::add_to(CLI::App& app, bool with_kv) {
  app.add_option("--device", device, "auto, cpu; cuda[:N] where the build has it")
      ->capture_default_str();
  app.add_option("--backend", backend, "auto, cpu, or reference (slow, double precision)")
      ->capture_default_str();
  app.add_option("--isa", isa,
                 "instruction set of the cpu backend: auto, generic, avx2, avx_vnni, avx512, amx")
      ->capture_default_str();
  app.add_option("--threads", threads, "compute threads; 0: one for each usable CPU")
      ->capture_default_str();
  app.add_option(
         "--activations", activations,
         "what inputs of quantized linears are rounded to: int8 or int16 in groups of 32, bf16, or "
         "float32 (not rounded); auto: int16 on a CPU")
      ->capture_default_str();
  if (with_kv)
    app.add_option("--kv-cache-dtype", kv_cache_dtype,
                   "how keys and values are held: float32, bfloat16, int16 (as fast, a thousandth "
                   "of its error), int8; auto: int16 where inputs are rounded, else float32")
        ->capture_default_str();
  app.add_option("--max-memory", max_memory,
                 "most memory to use: 12G, 512M, 50%; default: 80% of what is free");
}

void ComputeOptions::add_loading_to(CLI::App& app) {
  app.add_option_function<std::string>(
         "--hf-overrides",
         [this](const std::string& text) {
           try {
             const json::value value = parse_json(text, "--hf-overrides");
             if (!value.is_object())
               throw CLI::ValidationError("--hf-overrides", "expected a JSON object");
             hf_overrides = value.get_object();
           } catch (const Error& e) {
             throw CLI::ValidationError(e.what());
           }
         },
         "JSON object that is merged into MODEL's config.json: another context, YaRN")
      ->type_name("JSON");
  app.add_option("--weight-cache", weight_cache,
                 "where packed weights are kept for the next start: auto (~/.cache/octet/weights; "
                 "only large models, on one NUMA node, if that is on a disk), off, or a folder")
      ->capture_default_str();
  app.add_option("--weight-cache-limit", weight_cache_limit,
                 "most that the folder may hold: 64G, 512M; the longest unused goes first")
      ->capture_default_str();
}

model::WeightCacheOptions ComputeOptions::weight_cache_options() const {
  model::WeightCacheOptions o;
  // Of what? parse_bytes would take a share of the free memory.
  if (weight_cache_limit.find('%') != std::string::npos)
    fail(ErrorCode::invalid_argument,
         "--weight-cache-limit {}: expected an amount, such as 64G or 512M", weight_cache_limit);
  o.limits.limit_bytes = parse_bytes(weight_cache_limit);
  if (weight_cache == "off") return o;
  if (weight_cache.empty())
    fail(ErrorCode::invalid_argument, "--weight-cache: expected auto, off or a folder");
  if (weight_cache != "auto") {
    // Who names a folder wants the file there, however small.
    o.folder = weight_cache;
    o.smallest_bytes = 0;
    return o;
  }
  // On several nodes packing places the weights, and a file's pages lie where they fell. In memory
  // a file takes for good what it saves a later start.
  const auto folder = model::default_weight_cache();
  if (usable_nodes(numa_nodes(), affinity_cpus()).size() == 1 && !model::lies_in_memory(folder))
    o.folder = folder;
  return o;
}

DType ComputeOptions::kv_dtype() const {
  if (kv_cache_dtype == "auto")
    return activations == "float32" || backend == "reference" ? DType::f32 : DType::i16;
  if (kv_cache_dtype == "float32") return DType::f32;
  if (kv_cache_dtype == "bfloat16") return DType::bf16;
  if (kv_cache_dtype == "int16") return DType::i16;
  if (kv_cache_dtype == "int8") return DType::i8;
  fail(ErrorCode::invalid_argument,
       "--kv-cache-dtype {}: expected auto, float32, bfloat16, int16 or int8{}", kv_cache_dtype,
       kv_cache_dtype.starts_with("fp8") ? "; 8 bits are held as int8 here" : "");
}

std::size_t ComputeOptions::memory_limit() const {
  return max_memory.empty() ? available_memory_bytes() / 10 * 8 : parse_bytes(max_memory);
}

std::size_t parse_bytes(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  std::string unit(end);
  std::erase(unit, ' ');
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return std::toupper(c); });
  if (unit == "%" && number > 0 && number <= 100)
    return static_cast<std::size_t>(static_cast<double>(available_memory_bytes()) * number / 100);
  for (const auto& [name, factor] : {std::pair<const char*, double>{"", 1},
                                     {"B", 1},
                                     {"K", 1e3},
                                     {"KB", 1e3},
                                     {"M", 1e6},
                                     {"MB", 1e6},
                                     {"G", 1e9},
                                     {"GB", 1e9},
                                     {"T", 1e12},
                                     {"TB", 1e12},
                                     {"KIB", 1024.0},
                                     {"MIB", 1048576.0},
                                     {"GIB", 1073741824.0}})
    if (unit == name && number > 0 && number * factor < 1e18)
      return static_cast<std::size_t>(number * factor);
  fail(ErrorCode::invalid_argument, "`{}` is no amount of memory; expected 12G, 512M or 50%", text);
}

namespace {

// Ranks of one machine share its CPUs, unless mpirun has bound each to its own.
int threads_of_rank(int wanted, const comm::Communicator& ranks) {
  if (wanted > 0 || ranks.local_size() == 1) return std::max(0, wanted);
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, std::min(num_usable_cpus(), all / ranks.local_size()));
}

}  // namespace

Machine::Machine(const ComputeOptions& options)
    : ranks(comm::make_communicator()), pool(threads_of_rank(options.threads, *ranks)) {
  if (options.threads < 0)
    fail(ErrorCode::invalid_argument, "--threads {}: expected 0 or more", options.threads);
  if (options.device.starts_with("cuda"))
    fail(ErrorCode::unavailable, "--device {}: this build has no CUDA backend; use --device cpu",
         options.device);
  if (options.device != "auto" && options.device != "cpu")
    fail(ErrorCode::invalid_argument, "--device {}: expected auto, cpu or cuda[:N]",
         options.device);
  backend = ops::make_backend(
      {.backend = options.backend, .isa = options.isa, .activations = options.activations}, pool);
}

checkpoint::Checkpoint open_checkpoint(const std::string& model, const ComputeOptions& options,
                                       const Say& say) {
  auto out = checkpoint::Checkpoint::open(checkpoint::locate_model(model), options.hf_overrides);
  static std::mutex mutex;
  static std::set<std::string> said;  // a command may open its model twice: to plan and to load
  const std::scoped_lock lock(mutex);
  const auto& [unread, known, changes] = out.config().overrides;
  for (const std::string& key : unread) {
    if (!said.insert(key).second) continue;
    const auto elsewhere =
        std::ranges::find_if(known, [&](const std::string& k) { return k.ends_with("." + key); });
    const std::string line =
        fmt::format("--hf-overrides: {}: octet reads no such key{}", key,
                    elsewhere != known.end() ? fmt::format("; did you mean `{}`?", *elsewhere)
                                             : suggestion(key, known));
    if (say)
      say(line);
    else
      fmt::print(stderr, "octet: warning: {}\n", line);
  }
  return out;
}

void require_memory(const checkpoint::Checkpoint& checkpoint, const model::PoolOptions& caches,
                    std::size_t limit) {
  const auto inventory = checkpoint::take_inventory(checkpoint);
  const auto& config = checkpoint.config().text;
  const auto kv = model::kv_shape(config, caches);
  const auto kv_bytes = static_cast<double>(kv.bytes());
  const double state_bytes = static_cast<double>(inventory.state_bytes_per_sequence) *
                             static_cast<double>(caches.num_sequences);
  const auto weights = static_cast<double>(inventory.text_weight_bytes);
  const double total = weights + kv_bytes + state_bytes;
  if (limit == 0 || total <= static_cast<double>(limit)) return;
  const double left = static_cast<double>(limit) - weights - state_bytes;
  const double per_token = kv_bytes / std::max<double>(1, static_cast<double>(caches.num_tokens));
  const std::string remedy =
      left > per_token * 64
          ? fmt::format("a context of {:.0f} tokens would fit", left / per_token)
          : "a smaller or quantized checkpoint would fit, or a machine with more memory";
  fail(ErrorCode::out_of_memory,
       "{} does not fit in memory\n"
       "  weights            {:>10}\n"
       "  KV cache           {:>10}  ({} tokens)\n"
       "  recurrent states   {:>10}  ({} sequences)\n"
       "  needed             {:>10}\n"
       "  allowed            {:>10}  (--max-memory; 80% of what is free by default)\n"
       "{}",
       checkpoint.folder().string(), format_bytes(weights), format_bytes(kv_bytes),
       caches.num_tokens, format_bytes(state_bytes), caches.num_sequences, format_bytes(total),
       format_bytes(static_cast<double>(limit)), remedy);
}

namespace {

// Packed weights of an earlier start, or room to keep those of this one.
std::unique_ptr<model::WeightCache> open_weight_cache(const std::string& name, Machine& machine,
                                                      const ComputeOptions& options,
                                                      const checkpoint::Checkpoint& checkpoint,
                                                      bool quiet,
                                                      const std::function<void(double)>& tell,
                                                      const Say& say) {
  model::WeightCacheOptions o = options.weight_cache_options();
  // The file is known by the checkpoint's own files: what is packed otherwise must not be in it.
  if (checkpoint.config().overrides.changes_tensors) o.folder.clear();
  const bool first = machine.ranks->rank() == 0;
  o.say = [first, say](const std::string& line) {
    if (!first) return;
    if (say)
      say(line);
    else
      fmt::print(stderr, "octet: {}\n", line);
  };
  // Usually over before anybody could read it.
  const auto begin = std::chrono::steady_clock::now();
  std::optional<Progress> progress;
  o.progress = [&](std::uint64_t done, std::uint64_t bytes) {
    check_interrupt();
    if (!progress && std::chrono::steady_clock::now() - begin > std::chrono::seconds(1))
      progress.emplace("reading " + name, static_cast<std::int64_t>(bytes / 1'000'000), "MB",
                       quiet);
    if (progress) progress->update(static_cast<std::int64_t>(done / 1'000'000));
    // Layers are quick afterwards.
    if (tell && bytes > 0) tell(0.9 * static_cast<double>(done) / static_cast<double>(bytes));
  };
  return std::make_unique<model::WeightCache>(*machine.backend, checkpoint, machine.pool, o);
}

}  // namespace

LoadedModel::LoadedModel(const std::string& model_name, Machine& machine,
                         const ComputeOptions& options, const model::PoolOptions& caches,
                         bool quiet, const std::function<void(double)>& on_progress, const Say& say)
    : name(model_name), checkpoint(open_checkpoint(model_name, options)) {
  require_memory(checkpoint, caches, options.memory_limit());
  // A vocabulary of 248,000 takes as long to read as 4 GB of weights to verify.
  auto reading = std::async(std::launch::async,
                            [this] { return tokenizer::Tokenizer::load(checkpoint.folder()); });
  weight_cache =
      open_weight_cache(model_name, machine, options, checkpoint, quiet, on_progress, say);
  tokenizer = std::make_unique<tokenizer::Tokenizer>(reading.get());
  check_tokenizer(checkpoint.config().text.vocab_size);
  Progress progress("loading " + model_name, checkpoint.config().text.num_hidden_layers, "layers",
                    quiet);
  model = std::make_unique<model::TextModel>(
      *machine.backend, checkpoint,
      [&](std::int64_t done, std::int64_t total) {
        check_interrupt();
        progress.update(done);
        if (!on_progress || total < 1) return;
        const double share = static_cast<double>(done) / static_cast<double>(total);
        const bool cached = weight_cache->state() == model::WeightCache::State::read;
        on_progress(cached ? 0.9 + 0.1 * share : share);
      },
      weight_cache.get());
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

LoadedModel::LoadedModel(const std::string& model_name, Machine& machine,
                         const DummyWeights& weights)
    : name(model_name),
      checkpoint(checkpoint::Checkpoint::open(checkpoint::locate_model(model_name))),
      tokenizer(
          std::make_unique<tokenizer::Tokenizer>(tokenizer::Tokenizer::load(checkpoint.folder()))) {
  check_tokenizer(weights.config.vocab_size);
  model = std::make_unique<model::TextModel>(
      *machine.backend, model::synthetic_parts(*machine.backend, weights.config, weights.bits));
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

void LoadedModel::check_tokenizer(std::int64_t rows) const {
  if (tokenizer->size() > rows)
    fail(ErrorCode::bad_data, "{}: the tokenizer has {} tokens, the model {} rows",
         checkpoint.folder().string(), tokenizer->size(), rows);
}

json::object LoadedModel::start() const {
  using State = model::WeightCache::State;
  if (!weight_cache) return {{"seconds", seconds}, {"weights", "random"}};
  const State state = weight_cache->state();
  return {{"seconds", seconds},
          {"weights", state == State::read      ? "from the cache"
                      : state == State::written ? "packed and cached"
                                                : "packed"}};
}

std::vector<std::string> read_text_rows(const std::string& path) {
  const std::string file = read_text_file(path);
  std::vector<std::string> rows;
  for (const TextLine& line : text_lines(file)) {
    const json::object row = parse_line(file, line, path);
    const json::value* text = row.if_contains("text");
    if (!text || !text->is_string())
      fail(ErrorCode::bad_data, "{}, line {}: expected a string `text`", path, line.number);
    rows.emplace_back(text->get_string());
  }
  return rows;
}

ChatInput read_chat_input(const std::string& path) {
  const json::value value = read_json(path);
  ChatInput input;
  if (value.is_array()) {
    input.messages = value;
  } else if (value.is_object() && value.get_object().contains("messages")) {
    const auto& o = value.get_object();
    input.messages = o.at("messages");
    if (const auto* tools = o.if_contains("tools")) input.tools = *tools;
    if (const auto* kwargs = o.if_contains("chat_template_kwargs"); kwargs && kwargs->is_object())
      input.kwargs = kwargs->get_object();
  } else {
    fail(ErrorCode::bad_data, "{}: expected a list of messages or an object with `messages`", path);
  }
  input.messages = chat_template::with_parsed_arguments(std::move(input.messages));
  return input;
}

std::filesystem::path shipped_file(const std::string& name) {
  namespace fs = std::filesystem;
  std::vector<fs::path> places;
  if (const char* data = std::getenv("OCTET_DATA")) places.emplace_back(fs::path(data) / name);
  places.push_back(fs::path(OCTET_SOURCE_DIR) / name);
  places.push_back(fs::path(OCTET_INSTALL_PREFIX) / "share" / "octet" / name);
  for (const auto& place : places)
    if (fs::exists(place)) return place;
  fail(ErrorCode::not_found, "{} is not there; set OCTET_DATA to the folder that holds it",
       places.front().string());
}

}  // namespace octet::cli
