#pragma once

#include <CLI/App.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "cli/dummy_weights.h"
#include "input/chat_template/chat_template.h"
#include "input/tokenizer/tokenizer.h"
#include "model/text_model.h"
#include "runtime/base/json.h"
#include "runtime/base/thread_pool.h"
#include "runtime/comm/communicator.h"
#include "runtime/ops/backend.h"

namespace octet::cli {

/// Flags that every computing command takes.
struct ComputeOptions {
  std::string device = "auto", backend = "auto", isa = "auto", activations = "auto";
  std::string kv_cache_dtype = "auto";
  int threads = 0;
  std::string max_memory;
  std::string weight_cache = "auto", weight_cache_limit = "64G";
  json::object hf_overrides;  ///< merged into config.json
  void add_to(CLI::App& app, bool with_kv = true);
  /// Of commands that load a model to run it: --weight-cache, --hf-overrides.
  void add_loading_to(CLI::App& app);
  /// Where packed weights are kept; an empty folder if nowhere.
  model::WeightCacheOptions weight_cache_options() const;
  DType kv_dtype() const;
  /// Bytes that --max-memory allows, or 80 % of what is free.
  std::size_t memory_limit() const;
};

/// Pool and backend by the flags. Errors: invalid_argument, unavailable.
/// The ranks come before the pool: MPI wants to start before other threads.
struct Machine {
  explicit Machine(const ComputeOptions& options);
  std::unique_ptr<comm::Communicator> ranks;
  ThreadPool pool;
  std::unique_ptr<ops::Backend> backend;
};

/// Told a line for people. Empty: it goes to standard error.
using Say = std::function<void(const std::string&)>;

/// A checkpoint with its tokenizer, and its text model on a machine.
struct LoadedModel {
  /// quiet: no progress while the weights are packed. Errors: as Checkpoint, Tokenizer, TextModel;
  /// out_of_memory with a table, before anything is allocated. on_progress: share that is done,
  /// 0..1. say: told in a line what the weight cache does, by any thread; empty: standard error.
  LoadedModel(const std::string& name, Machine& machine, const ComputeOptions& options,
              const model::PoolOptions& caches, bool quiet,
              const std::function<void(double)>& on_progress = {}, const Say& say = {});
  /// The checkpoint's tokenizer before random weights. Its memory is the caller's to plan. Errors:
  /// as above.
  LoadedModel(const std::string& name, Machine& machine, const DummyWeights& weights);
  /// How it was loaded: {"seconds": s, "weights": "packed", "packed and cached", "from the
  /// cache" or "random"}
  json::object start() const;

 private:
  void check_tokenizer(std::int64_t rows) const;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();

 public:
  std::string name;
  checkpoint::Checkpoint checkpoint;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  std::unique_ptr<model::WeightCache> weight_cache;  ///< null: random weights
  std::unique_ptr<model::TextModel> model;
  double seconds = 0;  ///< that loading took
};

/// The model's folder with --hf-overrides, and a line (once for each key in the life of the
/// process) for what they set that nothing reads. Errors: as Checkpoint.
checkpoint::Checkpoint open_checkpoint(const std::string& model, const ComputeOptions& options,
                                       const Say& say = {});

/// Tells whether a model's weights and caches fit; throws out_of_memory with what needs how much
/// and what would fit.
void require_memory(const checkpoint::Checkpoint& checkpoint, const model::PoolOptions& caches,
                    std::size_t limit);

/// "12G", "512M", "1.5 GB", "80%": bytes. Errors: invalid_argument.
std::size_t parse_bytes(const std::string& text);

/// messages, tools and chat_template_kwargs of a file: a list of messages, or an object with the
/// fields of a chat request. Errors: bad_data.
struct ChatInput {
  json::value messages, tools;
  json::object kwargs;
};
ChatInput read_chat_input(const std::string& path);

/// The `text` of each line of a jsonl file; empty lines are skipped. Errors: not_found, bad_data.
std::vector<std::string> read_text_rows(const std::string& path);

/// The folder of shipped data, e.g. the default calibration text.
std::filesystem::path shipped_file(const std::string& name);

/// Adds one subcommand to the program. The returned function runs it.
using Command = std::function<void()>;
Command add_quantize(CLI::App& app);
Command add_perplexity(CLI::App& app);
Command add_chat(CLI::App& app);
Command add_inspect(CLI::App& app);
Command add_tokenize(CLI::App& app);
Command add_logits(CLI::App& app);
Command add_bench(CLI::App& app);
Command add_doctor(CLI::App& app);
Command add_export(CLI::App& app);
Command add_serve(CLI::App& app);

}  // namespace octet::cli
