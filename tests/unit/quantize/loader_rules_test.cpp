// The published rules by which vLLM loads a GPTQ folder (docs/formats/gptq.md), applied to what
// octet writes: keys of the configuration, tensors of each module, which layers count as
// quantized, fused layers.

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "checkpoint/checkpoint.h"
#include "model/synthetic.h"
#include "model/weights.h"
#include "quantize/quantize_model.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/make_backend.h"
#include "support/support.h"

namespace octet::quantize {
namespace {

using Problems = std::vector<std::string>;

struct Tensor {
  DType dtype;
  Shape shape;
};

// What a loader sees.
struct Folder {
  json::object quantization;
  std::map<std::string, Tensor> tensors;
};

// vLLM's name of a checkpoint name, before modules are fused.
std::string vllm_name(const std::string& name) {
  if (name.starts_with("model.visual.")) return name.substr(6);
  if (name.starts_with("lm_head.")) return "language_model." + name;
  constexpr std::string_view kLanguage = "model.language_model.";
  if (name.starts_with(kLanguage)) return "language_model.model." + name.substr(kLanguage.size());
  return name;
}

const std::map<std::string, std::vector<std::string>> kFused{
    {"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
    {"gate_up_proj", {"gate_proj", "up_proj"}},
    {"in_proj_qkvz", {"in_proj_qkv", "in_proj_z"}},
    {"in_proj_ba", {"in_proj_b", "in_proj_a"}}};

// Python's re.match: anchored at the beginning.
bool matches(const std::string& pattern, const std::string& text) {
  return std::regex_search(text, std::regex(pattern), std::regex_constants::match_continuous);
}

// The first rule that matches decides: "-:" means not quantized.
bool excluded(const json::object& quantization, const std::string& name) {
  const auto* dynamic = quantization.if_contains("dynamic");
  if (!dynamic) return false;
  for (const auto& rule : dynamic->as_object()) {
    const std::string key(rule.key());
    if (key.starts_with("-:") && matches(key.substr(2), name)) return true;
    if (key.starts_with("+:") && matches(key.substr(2), name)) return false;
  }
  return false;
}

Problems problems_of(const Folder& folder) {
  Problems list;
  const auto say = [&](const std::string& text) { list.push_back(text); };
  const json::object& q = folder.quantization;
  for (const char* key : {"bits", "group_size", "desc_act", "sym", "quant_method"})
    if (!q.contains(key)) say(fmt::format("no {}", key));
  if (!list.empty()) return list;
  const auto bits = q.at("bits").to_number<std::int64_t>();
  const auto group = q.at("group_size").to_number<std::int64_t>();
  if (q.at("quant_method").as_string() != "gptq" || !q.at("sym").as_bool() ||
      q.at("desc_act").as_bool() || (bits != 4 && bits != 8))
    say("not what the fast kernels take");
  if (q.contains("modules_in_block_to_quantize")) say("short names would match MTP modules");
  const std::set<std::int64_t> groups{-1, 32, 64, 128};
  if (!groups.contains(group)) say("group size");

  // A module owning a parameter that is not floating point is quantized.
  std::set<std::string> modules, quantized;
  for (const auto& [name, tensor] : folder.tensors) {
    const auto dot = name.rfind('.');
    const std::string module = name.substr(0, dot);
    modules.insert(module);
    if (tensor.dtype != DType::f16 && tensor.dtype != DType::bf16 && tensor.dtype != DType::f32)
      quantized.insert(module);
  }
  const auto tensor = [&](const std::string& name) -> const Tensor* {
    const auto found = folder.tensors.find(name);
    return found == folder.tensors.end() ? nullptr : &found->second;
  };
  for (const std::string& m : quantized) {
    const Tensor *w = tensor(m + ".qweight"), *z = tensor(m + ".qzeros"),
                 *s = tensor(m + ".scales"), *g = tensor(m + ".g_idx");
    if (!w || !z || !s || !g) {
      say(m + ": a tensor is missing");
      continue;
    }
    if (tensor(m + ".weight")) say(m + ": weight and qweight");
    const std::int64_t k = w->shape[0] * 32 / bits, n = w->shape[1];
    const std::int64_t rows = group < 0 ? 1 : k / group;
    if (w->dtype != DType::i32 || z->dtype != DType::i32 || g->dtype != DType::i32 ||
        s->dtype != DType::f16)
      say(m + ": dtype");
    if (s->shape != Shape{rows, n} || z->shape != Shape{rows, n * bits / 32} ||
        g->shape != Shape{k})
      say(m + ": shape");
    if (excluded(q, vllm_name(m))) say(m + ": quantized, but a rule excludes it");
  }
  for (const std::string& m : modules) {
    const bool linear = tensor(m + ".weight") && tensor(m + ".weight")->shape.size() == 2 &&
                        m.find("_proj") != m.npos;
    if (linear && !quantized.contains(m) && !excluded(q, vllm_name(m)))
      say(m + ": 16 bit, but no rule says so");
  }
  // Parts of a fused layer are all quantized or none, and rules see the fused name.
  for (const auto& [fused, parts] : kFused)
    for (const std::string& m : modules) {
      if (!m.ends_with("." + parts[0])) continue;
      const std::string parent = m.substr(0, m.size() - parts[0].size());
      std::size_t count = 0;
      for (const std::string& part : parts) count += quantized.contains(parent + part);
      if (count != 0 && count != parts.size()) say(parent + fused + ": parts differ");
      if (excluded(q, vllm_name(parent + fused)) != (count == 0))
        say(parent + fused + ": rules and tensors differ");
    }
  return list;
}

Folder read(const std::filesystem::path& path) {
  Folder folder;
  folder.quantization = read_json(path / "config.json").at("quantization_config").as_object();
  const auto written = checkpoint::Checkpoint::open(path);
  for (const auto& t : written.tensors()) folder.tensors[t.name] = {t.dtype, t.shape};
  return folder;
}

class LoaderRules : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(LoaderRules, HoldForWhatIsWrittenAndFailForDamage) {
  const auto [bits, group] = GetParam();
  ThreadPool pool(2);
  linalg::Linalg linalg(pool);
  const auto backend = ops::make_backend({}, pool);
  const auto source = checkpoint::Checkpoint::open(test::tiny_model());
  const test::ScratchFolder scratch;
  QuantizeOptions options{.method = Method::rtn};
  options.gptq.scale_rule = {.bits = bits, .search = ScaleSearch::none};
  options.gptq.group_size = group;
  quantize_model(source, {}, scratch.path() / "out", options, *backend, linalg,
                 *comm::make_communicator(), nullptr);
  const Folder good = read(scratch.path() / "out");
  EXPECT_EQ(problems_of(good), Problems{});
  EXPECT_EQ(read_json(scratch.path() / "out" / "quantize_config.json"),
            json::value(good.quantization));
  // Names and bytes of everything else are the source's.
  std::size_t others = 0;
  for (const auto& t : source.tensors()) others += good.tensors.contains(t.name);
  std::size_t quantized = 0;
  for (const auto& [name, t] : good.tensors) quantized += name.ends_with(".qweight");
  EXPECT_EQ(others + quantized, source.tensors().size());

  const std::string layer = "model.language_model.layers.3.";
  const auto broken = [&](const std::string& expected, auto change) {
    Folder bad = good;
    change(bad);
    const auto problems = problems_of(bad);
    EXPECT_TRUE(std::ranges::any_of(
        problems, [&](const std::string& p) { return p.find(expected) != p.npos; }))
        << expected << ": " << fmt::format("{}", fmt::join(problems, "; "));
  };
  broken("missing", [&](Folder& f) { f.tensors.erase(layer + "self_attn.q_proj.g_idx"); });
  broken("shape", [&](Folder& f) { f.tensors[layer + "mlp.up_proj.scales"].shape[0] += 1; });
  broken("parts differ", [&](Folder& f) {
    for (const char* part : {"qweight", "qzeros", "scales", "g_idx"})
      f.tensors.erase(layer + "self_attn.v_proj." + part);
    f.tensors[layer + "self_attn.v_proj.weight"] = {DType::bf16, {256, 256}};
  });
  broken("16 bit, but no rule",
         [&](Folder& f) { f.quantization["dynamic"].as_object().erase("-:.*mtp.*"); });
  broken("16 bit, but no rule", [&](Folder& f) {
    auto& dynamic = f.quantization["dynamic"].as_object();
    dynamic.erase("-:.*mtp.*");
    dynamic["+:.*mtp.*"] = json::object();
  });
  broken("excludes it", [&](Folder& f) {
    f.quantization["dynamic"].as_object()["-:.*down_proj.*"] = json::object();
  });
  broken("rules and tensors differ", [&](Folder& f) {
    f.quantization["dynamic"].as_object()["-:.*gate_up_proj.*"] = json::object();
  });
  broken("no sym", [&](Folder& f) { f.quantization.erase("sym"); });
}

INSTANTIATE_TEST_SUITE_P(Widths, LoaderRules,
                         testing::Values(std::pair(8, 32), std::pair(4, 32), std::pair(8, 128),
                                         std::pair(4, 64), std::pair(8, -1)));

// The kernel that vLLM chooses for groups of 32 wants outputs in 64s and inputs in 128s on each
// rank: true of every module of the published sizes on 1, 2, 4 and 8 ranks.
TEST(LoaderRules, ShapesOfPublishedSizesFitTheKernel) {
  for (const std::int64_t ranks : {1, 2, 4, 8}) {
    const auto config = model::published_shape("27b");
    for (const std::int64_t layer : {0, 3})
      for (const auto& group : model::quantized_modules(config, layer))
        for (const auto& m : group) {
          const bool by_inputs = m.name.ends_with("o_proj") || m.name.ends_with("out_proj") ||
                                 m.name.ends_with("down_proj");
          const std::int64_t n = by_inputs ? m.out_features : m.out_features / ranks;
          const std::int64_t k = by_inputs ? m.in_features / ranks : m.in_features;
          EXPECT_EQ(n % 64, 0) << m.name << " on " << ranks;
          EXPECT_EQ(k % 128, 0) << m.name << " on " << ranks;
        }
  }
}

}  // namespace
}  // namespace octet::quantize
