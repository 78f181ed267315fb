// The whole pipeline on tiny: what is written, what is refused, what an interruption leaves.

#include "quantize/quantize_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>

#include "checkpoint/safetensors_writer.h"
#include "model/text_model.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/make_backend.h"
#include "support/support.h"

namespace octet::quantize {
namespace {

namespace fs = std::filesystem;

class QuantizeModel : public testing::Test {
 protected:
  QuantizeResult run(const fs::path& output, const QuantizeOptions& options,
                     const QuantizeProgress& progress = nullptr) {
    return quantize_model(source, calibration, output, options, *backend, linalg, *ranks, progress);
  }

  static QuantizeOptions gptq() { return {}; }

  // Twelve short rows, so that one is held out.
  CalibrationSet few_rows() const {
    CalibrationOptions options;
    options.sources = {{test::shipped_data("calibration.jsonl")}};
    options.samples = 12;
    options.min_tokens = 20;
    options.max_tokens = 24;
    options.render = [](const json::value&) { return std::string("a chat of words"); };
    return load_calibration(options, tokenizer, source.config().text.vocab_size);
  }

  static QuantizeOptions rtn() {
    QuantizeOptions options;
    options.method = Method::rtn;
    options.gptq.scale_rule.search = ScaleSearch::none;
    return options;
  }

  ErrorCode code_of(const fs::path& output, const QuantizeOptions& options,
                    const std::string& part) {
    try {
      run(output, options);
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      return e.code();
    }
    ADD_FAILURE() << "no error: " << part;
    return ErrorCode::internal;
  }

  ThreadPool pool{2};
  linalg::Linalg linalg{pool};
  std::unique_ptr<comm::Communicator> ranks = comm::make_communicator();
  std::unique_ptr<ops::Backend> backend = ops::make_backend({}, pool);
  checkpoint::Checkpoint source = checkpoint::Checkpoint::open(test::tiny_model());
  tokenizer::Tokenizer tokenizer = tokenizer::Tokenizer::load(test::tiny_model());
  CalibrationSet calibration = few_rows();
  test::ScratchFolder folder;
  fs::path out = folder.path() / "out";
};

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(folder)) names.push_back(e.path().filename());
  std::ranges::sort(names);
  return names;
}

TEST_F(QuantizeModel, WritesWhatLoadsAndIsClose) {
  for (const Method method : {Method::gptq, Method::rtn}) {
    QuantizeOptions options = method == Method::gptq ? gptq() : rtn();
    // Twelve short rows say little about the streams: the weights would move further than steps.
    options.gptq.target_shift = options.gptq.residual_shift = 0;
    options.overwrite = true;
    const QuantizeResult result = run(out, options);
    EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
    EXPECT_FALSE(result.modules.empty());
    const auto written = checkpoint::Checkpoint::open(out);
    written.require_text();
    ASSERT_TRUE(written.config().quantization);
    EXPECT_EQ(written.config().quantization->bits, 8);
    EXPECT_EQ(written.config().quantization->group_size, 32);
    // Round to nearest: within half a step, and what rounding the scale to fp16 adds at the ends.
    const auto original = model::checkpoint_loader(source);
    const auto quantized = model::checkpoint_loader(written);
    for (const ModuleLine& m : result.modules) {
      const auto& info = *source.find(m.name + ".weight");
      const auto a = original(m.name, info.shape[0], info.shape[1]);
      const auto b = quantized(m.name, info.shape[0], info.shape[1]);
      ASSERT_EQ(b.part.codes.codes != nullptr, true) << m.name;
      const auto* words = reinterpret_cast<const std::uint16_t*>(info.bytes.data());
      double error = 0, power = 0;
      for (std::int64_t n = 0; n < info.shape[0]; ++n)
        for (std::int64_t k = 0; k < info.shape[1]; ++k) {
          const auto code =
              static_cast<int>(b.part.codes.codes[(k / 4 * info.shape[0] + n) * 4 + k % 4]);
          const auto scale =
              b.part.codes.scales[static_cast<std::size_t>(k / 32 * info.shape[0] + n)];
          const double w = bf16_to_float(words[n * info.shape[1] + k]);
          const double e = w - static_cast<double>(scale) * (code - 128);
          if (method == Method::rtn) {
            ASSERT_LE(std::abs(e), scale * 0.57) << m.name << " " << n << " " << k;
          }
          error += e * e;
          power += w * w;
        }
      EXPECT_LT(error / power, 1e-4) << m.name;
    }
    // Tensors that are not quantized are the source's, byte for byte.
    for (const char* name :
         {"model.language_model.norm.weight", "model.language_model.layers.0.linear_attn.A_log"}) {
      const auto& a = *source.find(name);
      const auto& b = *written.find(name);
      ASSERT_EQ(a.bytes.size(), b.bytes.size());
      EXPECT_TRUE(std::ranges::equal(a.bytes, b.bytes)) << name;
    }
    // Report, log and the files beside the weights.
    const json::value report = read_json(out / "quantize_report.json");
    EXPECT_EQ(report.at("modules").as_array().size(), result.modules.size());
    for (const char* name : {"quant_log.csv", "quantize_config.json", "tokenizer.json",
                             "chat_template.jinja", "generation_config.json"})
      EXPECT_TRUE(fs::exists(out / name)) << name;
    model::TextModel loads(*backend, written);
  }
}

TEST_F(QuantizeModel, SameBytesForAnyNumberOfThreadsAndShards) {
  run(out, gptq());
  ThreadPool alone(1);
  linalg::Linalg other_linalg(alone);
  const auto other = ops::make_backend({}, alone);
  QuantizeOptions options = gptq();
  options.shard_bytes = 3'000'000;
  // Rows in a file and inputs computed twice give the same bytes too.
  const auto needs = [&] { return forecast(source, calibration, options).plan; };
#if !defined(__SANITIZE_ADDRESS__)  // which holds freed memory back: the process grows meanwhile
  options.max_memory = needs().peak_bytes - 1;
  EXPECT_FALSE(needs().arena.keep_inputs);
  options.max_memory = needs().peak_bytes - 1;
  EXPECT_TRUE(needs().arena.spill);
#endif
  quantize_model(source, calibration, folder.path() / "shards", options, *other, other_linalg,
                 *ranks, nullptr);
  const auto a = checkpoint::Checkpoint::open(out);
  const auto b = checkpoint::Checkpoint::open(folder.path() / "shards");
  EXPECT_TRUE(fs::exists(folder.path() / "shards" / "model.safetensors.index.json"));
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const auto& t : a.tensors())
    EXPECT_TRUE(std::ranges::equal(t.bytes, b.find(t.name)->bytes)) << t.name;
}

// Files of a result that hold no times.
std::map<std::string, std::string> lasting_files(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const std::string& name : names_in(folder))
    if (name != "quantize_report.json" && name != "quant_log.csv")
      files[name] = read_file(folder / name);
  return files;
}

TEST_F(QuantizeModel, AnInterruptedRunGoesOnToTheSameBytes) {
  QuantizeOptions options = gptq();
  options.shard_bytes = 3'000'000;  // layers end inside shards and at their ends
  run(folder.path() / "whole", options);
  const auto whole = lasting_files(folder.path() / "whole");
  const auto stop_at = [&](std::int64_t stop) {
    EXPECT_THROW(run(out, options,
                     [&](std::int64_t layer, std::int64_t, const std::string& what) {
                       if (layer == stop && what.find("earlier run") == what.npos)
                         fail(ErrorCode::interrupted, "stopped");
                     }),
                 Error);
    EXPECT_FALSE(fs::exists(out));
  };
  stop_at(0);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"whole"});
  for (const std::int64_t layer : {1, 2, 5}) stop_at(layer);
  // Other settings don't go on with it, and don't destroy it.
  QuantizeOptions other = options;
  other.gptq.damp_percent = 0.06;
  EXPECT_EQ(code_of(out, other, "damp_percent: 0.05"), ErrorCode::invalid_argument);
  const auto result = run(out, options);
  EXPECT_EQ(result.resumed_layers, 5);
  EXPECT_EQ(lasting_files(out), whole);
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"out", "whole"}));
}

TEST_F(QuantizeModel, ADamagedUnfinishedRunIsNoticed) {
  QuantizeOptions options = gptq();
  const auto stop = [&](std::int64_t layer, std::int64_t, const std::string& what) {
    if (layer == 2 && what.find("earlier run") == what.npos) fail(ErrorCode::interrupted, "stop");
  };
  EXPECT_THROW(run(out, options, stop), Error);
  const fs::path partial = out.string() + ".partial", shard = partial / "model.safetensors.partial";
  const std::string good = read_file(shard);
  // A bit of a quantized tensor, then a file that is too short.
  std::string bad = good;
  bad[bad.size() - bad.size() / 20] ^= 4;
  std::ofstream(shard, std::ios::binary) << bad;
  EXPECT_EQ(code_of(out, options, "--overwrite"), ErrorCode::bad_data);
  std::ofstream(shard, std::ios::binary) << good.substr(0, good.size() / 2);
  EXPECT_EQ(code_of(out, options, "earlier run"), ErrorCode::bad_data);
  EXPECT_FALSE(fs::exists(out));
  // A state that can't be understood is no state: the run starts from its beginning.
  std::ofstream(partial / "quantize_state.json") << "{";
  EXPECT_EQ(run(out, options).resumed_layers, 0);
}

TEST_F(QuantizeModel, TwoProcessesDontWriteOneFolder) {
  bool asked = false;
  run(out, rtn(), [&](std::int64_t, std::int64_t, const std::string&) {
    if (asked) return;
    asked = true;
    EXPECT_EQ(code_of(out, rtn(), "another process"), ErrorCode::unavailable);
  });
  EXPECT_TRUE(asked);
  EXPECT_TRUE(fs::exists(out / "config.json"));
}

// A source without MTP tensors, as some tools leave them.
TEST_F(QuantizeModel, TakesMtpFromAnotherCheckpoint) {
  QuantizeOptions options = rtn();
  options.mtp_from = test::tiny_model();
  EXPECT_EQ(code_of(out, options, "has its own"), ErrorCode::invalid_argument);
  const fs::path bare = folder.path() / "bare";
  fs::create_directory(bare);
  for (const auto& entry : fs::directory_iterator(test::tiny_model()))
    if (entry.path().extension() != ".safetensors" &&
        entry.path().filename() != "model.safetensors.index.json")
      fs::copy(entry.path(), bare);
  std::vector<checkpoint::TensorPlan> plan;
  for (const auto& t : source.tensors())
    if (!t.name.starts_with("mtp.")) plan.push_back({t.name, t.dtype, t.shape});
  checkpoint::ShardWriter writer(bare, plan, 1u << 30);
  for (const auto& t : plan) writer.add(t.name, source.find(t.name)->bytes);
  writer.finish();
  const auto whole = std::move(source);
  source = checkpoint::Checkpoint::open(bare);
  ASSERT_FALSE(source.has_mtp());
  run(out, options);
  const auto written = checkpoint::Checkpoint::open(out);
  EXPECT_TRUE(written.has_mtp());
  for (const auto& t : whole.tensors())
    if (t.name.starts_with("mtp.")) {
      EXPECT_TRUE(std::ranges::equal(t.bytes, written.find(t.name)->bytes)) << t.name;
    }
  options.mtp_from = bare;
  EXPECT_EQ(code_of(folder.path() / "none", options, "all MTP tensors"),
            ErrorCode::invalid_argument);
}

TEST_F(QuantizeModel, NeverReplacesWhatItShouldNot) {
  fs::create_directory(out);
  write_file(out / "thesis.txt", "years of work");
  EXPECT_EQ(code_of(out, rtn(), "--overwrite"), ErrorCode::invalid_argument);
  QuantizeOptions options = rtn();
  options.overwrite = true;
  EXPECT_EQ(code_of(out, options, "not a model"), ErrorCode::invalid_argument);
  EXPECT_EQ(read_file(out / "thesis.txt"), "years of work");
  EXPECT_EQ(code_of(test::tiny_model(), options, "model itself"), ErrorCode::invalid_argument);
  // An interrupted replacement leaves the old result whole.
  const fs::path model = folder.path() / "model";
  run(model, rtn());
  const std::string before = read_file(model / "quantize_report.json");
  EXPECT_THROW(run(model, options,
                   [](std::int64_t layer, std::int64_t, const std::string&) {
                     if (layer == 5) fail(ErrorCode::interrupted, "stopped");
                   }),
               Error);
  EXPECT_EQ(read_file(model / "quantize_report.json"), before);
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"model", "model.partial", "out"}));
  run(model, options);
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"model", "out"}));
}

TEST_F(QuantizeModel, RefusesBadOptionsAndSources) {
  const auto refuse = [&](auto change, const std::string& part) {
    QuantizeOptions options = rtn();
    change(options);
    EXPECT_EQ(code_of(out, options, part), ErrorCode::invalid_argument);
  };
  refuse([](auto& o) { o.gptq.scale_rule.bits = 5; }, "--bits 5");
  refuse([](auto& o) { o.gptq.group_size = 48; }, "--group-size 48");
  refuse([](auto& o) { o.gptq.damp_percent = 0; }, "--damp");
  QuantizeOptions small = gptq();
  small.max_memory = 1000;
  EXPECT_EQ(code_of(out, small, "--preset reference needs less"), ErrorCode::out_of_memory);
  refuse([](auto& o) { o.gptq.damp_percent = std::nan(""); }, "--damp");
  EXPECT_FALSE(fs::exists(out));
  run(out, rtn());
  source = checkpoint::Checkpoint::open(out);
  EXPECT_EQ(code_of(folder.path() / "again", rtn(), "quantized already"),
            ErrorCode::invalid_argument);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
}

TEST_F(QuantizeModel, RefusesWeightsThatAreNotFinite) {
  const fs::path copy = folder.path() / "copy";
  fs::copy(test::tiny_model(), copy, fs::copy_options::recursive);
  const std::string name = "model.language_model.layers.1.mlp.up_proj.weight";
  const checkpoint::TensorInfo info = *source.find(name);
  const fs::path file = copy / info.file->path().filename();
  const auto offset = info.bytes.data() - info.file->bytes().data();
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(offset + 200);
  stream.write("\xc0\x7f", 2);  // a NaN
  stream.close();
  source = checkpoint::Checkpoint::open(copy);
  EXPECT_EQ(code_of(out, rtn(), name), ErrorCode::bad_data);
  EXPECT_EQ(code_of(folder.path() / "other", gptq(), name), ErrorCode::bad_data);
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace octet::quantize
