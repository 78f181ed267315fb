// Values of an exported file against those of the checkpoint, read by formulas of this test's own.

#include "export/gguf_export.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "checkpoint/gguf_format.h"
#include "checkpoint/safetensors_writer.h"
#include "model/weights.h"
#include "runtime/base/error.h"
#include "support/support.h"

namespace octet::exporter {
namespace {

namespace fs = std::filesystem;
using checkpoint::Checkpoint;
using checkpoint::GgmlType;
using checkpoint::GgufFile;

template <typename T>
T at(std::span<const std::byte> bytes, std::size_t offset) {
  T v;
  std::memcpy(&v, bytes.data() + offset, sizeof v);
  return v;
}

// The values of a tensor of a GGUF file.
std::vector<float> values_of(const checkpoint::GgufTensor& t) {
  std::vector<float> v(static_cast<std::size_t>(num_elements(t.shape)));
  for (std::size_t i = 0; i < v.size(); ++i) switch (t.type) {
      case GgmlType::f32:
        v[i] = at<float>(t.bytes, 4 * i);
        break;
      case GgmlType::bf16:
        v[i] = bf16_to_float(at<std::uint16_t>(t.bytes, 2 * i));
        break;
      case GgmlType::f16:
        v[i] = f16_to_float(at<std::uint16_t>(t.bytes, 2 * i));
        break;
      case GgmlType::q8_0: {
        const std::size_t block = i / 32 * 34;
        v[i] = f16_to_float(at<std::uint16_t>(t.bytes, block)) *
               static_cast<float>(at<std::int8_t>(t.bytes, block + 2 + i % 32));
        break;
      }
      case GgmlType::q4_0: {
        const std::size_t block = i / 32 * 18, j = i % 32;
        const auto pair = at<std::uint8_t>(t.bytes, block + 2 + j % 16);
        v[i] = f16_to_float(at<std::uint16_t>(t.bytes, block)) *
               static_cast<float>((j < 16 ? pair & 15 : pair >> 4) - 8);
        break;
      }
    }
  return v;
}

// A copy of tiny whose text linears are GPTQ tensors with random codes.
struct QuantizeStyle {
  std::int64_t bits = 8, group_size = 32;
  bool zeros = false;  // other zero points than the middle
  bool act_order = false;
};
void write_quantized(const fs::path& folder, const QuantizeStyle& style) {
  const auto source = Checkpoint::open(test::tiny_model());
  fs::create_directories(folder);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                           "generation_config.json", "preprocessor_config.json"})
    fs::copy(test::tiny_model() / name, folder / name);
  json::object config = source.config().raw;
  config["quantization_config"] = {
      {"quant_method", "gptq"},      {"bits", style.bits},  {"group_size", style.group_size},
      {"desc_act", style.act_order}, {"sym", !style.zeros}, {"checkpoint_format", "gptq"}};
  write_file(folder / "config.json", to_json(config));
  std::vector<checkpoint::TensorPlan> plan;
  std::vector<std::vector<std::byte>> data;
  const auto add = [&](const std::string& name, DType type, Shape shape,
                       std::vector<std::byte> bytes) {
    plan.push_back({name, type, std::move(shape)});
    data.push_back(std::move(bytes));
  };
  std::mt19937 rng(3);
  for (const auto& e : checkpoint::expected_tensors(source.config())) {
    const auto t = source.get(e.name, e.shape);
    if (!e.quantizable) {
      add(e.name, t.dtype, t.shape, {t.bytes.begin(), t.bytes.end()});
      continue;
    }
    const std::string m = e.name.substr(0, e.name.size() - 7);
    const std::int64_t n = e.shape[0], k = e.shape[1];
    const std::int64_t group = style.group_size < 0 ? k : style.group_size, groups = k / group;
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(n * k));
    for (auto& c : codes) c = static_cast<std::uint8_t>(rng() % (1u << style.bits));
    std::vector<float> scales(static_cast<std::size_t>(n * groups));
    for (auto& s : scales)
      s = f16_to_float(float_to_f16(1e-4f + 1e-6f * static_cast<float>(rng() % 1000)));
    auto packed = checkpoint::pack_gptq(codes, scales, n, k, style.bits, style.group_size);
    if (style.zeros)
      for (auto& b : packed.qzeros) b = static_cast<std::byte>(rng());
    if (style.act_order)
      for (std::int64_t i = 0; i < k; ++i) {
        const auto g = static_cast<std::int32_t>(i % groups);
        std::memcpy(packed.g_idx.data() + 4 * i, &g, 4);
      }
    add(m + ".qweight", DType::i32, {k * style.bits / 32, n}, packed.qweight);
    add(m + ".qzeros", DType::i32, {groups, n * style.bits / 32}, packed.qzeros);
    add(m + ".scales", DType::f16, {groups, n}, packed.scales);
    add(m + ".g_idx", DType::i32, {k}, packed.g_idx);
  }
  checkpoint::SafetensorsWriter writer(folder / "model.safetensors", plan);
  for (std::size_t i = 0; i < plan.size(); ++i) writer.add(plan[i].name, data[i]);
  writer.finish();
}

// The checkpoint's values of a text or MTP tensor.
std::vector<float> source_values(const Checkpoint& c, const checkpoint::ExpectedTensor& e) {
  const std::int64_t n = e.shape.size() > 1 ? e.shape[0] : 1;
  const std::int64_t k = num_elements(e.shape) / n;
  if (e.quantizable) {
    const auto load = model::checkpoint_loader(c);
    return ops::dequantize(load(e.name.substr(0, e.name.size() - 7), n, k).part, {0, n}, {0, k});
  }
  auto t = c.get(e.name, e.shape);
  t.shape = {n, k};
  return ops::dequantize(model::dense_part(t), {0, n}, {0, k});
}

std::string inside(const std::string& name) {
  const std::size_t layers = name.find("layers.");
  return layers == std::string::npos ? name : name.substr(name.find('.', layers + 7) + 1);
}

// Every tensor of the text model and the MTP layer, value by value. A value head v of llama.cpp
// uses key head v % K; in the checkpoint head s uses s / (V / K).
void expect_equal(const Checkpoint& c, const GgufFile& file) {
  const std::map<std::string, std::string> names{
      {"input_layernorm.weight", "attn_norm.weight"},
      {"post_attention_layernorm.weight", "post_attention_norm.weight"},
      {"mlp.gate_proj.weight", "ffn_gate.weight"},
      {"mlp.up_proj.weight", "ffn_up.weight"},
      {"mlp.down_proj.weight", "ffn_down.weight"},
      {"self_attn.q_proj.weight", "attn_q.weight"},
      {"self_attn.k_proj.weight", "attn_k.weight"},
      {"self_attn.v_proj.weight", "attn_v.weight"},
      {"self_attn.o_proj.weight", "attn_output.weight"},
      {"self_attn.q_norm.weight", "attn_q_norm.weight"},
      {"self_attn.k_norm.weight", "attn_k_norm.weight"},
      {"linear_attn.in_proj_qkv.weight", "attn_qkv.weight"},
      {"linear_attn.in_proj_z.weight", "attn_gate.weight"},
      {"linear_attn.in_proj_b.weight", "ssm_beta.weight"},
      {"linear_attn.in_proj_a.weight", "ssm_alpha.weight"},
      {"linear_attn.conv1d.weight", "ssm_conv1d.weight"},
      {"linear_attn.dt_bias", "ssm_dt.bias"},
      {"linear_attn.A_log", "ssm_a"},
      {"linear_attn.norm.weight", "ssm_norm.weight"},
      {"linear_attn.out_proj.weight", "ssm_out.weight"},
      {"mtp.fc.weight", "nextn.eh_proj.weight"},
      {"mtp.pre_fc_norm_embedding.weight", "nextn.enorm.weight"},
      {"mtp.pre_fc_norm_hidden.weight", "nextn.hnorm.weight"},
      {"mtp.norm.weight", "nextn.shared_head_norm.weight"},
      {"model.language_model.embed_tokens.weight", "token_embd.weight"},
      {"model.language_model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"}};
  const auto& t = c.config().text;
  const std::int64_t keys = t.linear_num_key_heads, shared = t.linear_num_value_heads / keys;
  const std::int64_t dim = t.linear_value_head_dim;
  const auto head = [&](std::int64_t v) { return v % keys * shared + v / keys; };
  std::size_t compared = 0;
  for (const auto& e : checkpoint::expected_tensors(c.config())) {
    if (e.part == checkpoint::TensorClass::vision) continue;
    std::string name = names.at(inside(e.name));
    if (e.name.find("layers.") != std::string::npos) {
      const std::int64_t layer = std::stoll(e.name.substr(e.name.find("layers.") + 7));
      name = fmt::format("blk.{}.{}",
                         layer + (e.name.starts_with("mtp.") ? t.num_hidden_layers : 0), name);
    } else if (e.name.starts_with("mtp.")) {
      name = fmt::format("blk.{}.{}", t.num_hidden_layers, name);
    }
    const auto* found = file.find_tensor(name);
    ASSERT_TRUE(found) << name;
    ++compared;
    const auto ours = values_of(*found), theirs = source_values(c, e);
    ASSERT_EQ(ours.size(), theirs.size()) << name;
    const std::int64_t n = e.shape.size() > 1 ? e.shape[0] : 1,
                       k = static_cast<std::int64_t>(ours.size()) / n;
    const std::string part = inside(e.name);
    const bool plus_one =
        part.find("norm") != std::string::npos && part != "linear_attn.norm.weight";
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < k; ++j) {
        std::int64_t row = i, column = j;
        const std::int64_t first =
            part == "linear_attn.in_proj_qkv.weight" || part == "linear_attn.conv1d.weight"
                ? 2 * t.key_dim()
                : 0;
        if ((first > 0 && i >= first) || part == "linear_attn.in_proj_z.weight")
          row = first + head((i - first) / dim) * dim + (i - first) % dim;
        if (part == "linear_attn.in_proj_a.weight" || part == "linear_attn.in_proj_b.weight")
          row = head(i);
        if (part == "linear_attn.dt_bias" || part == "linear_attn.A_log") column = head(j);
        if (part == "linear_attn.out_proj.weight") column = head(j / dim) * dim + j % dim;
        float expected = theirs[static_cast<std::size_t>(row * k + column)];
        if (plus_one) expected += 1;
        if (part == "linear_attn.A_log") expected = -std::exp(expected);
        ASSERT_EQ(ours[static_cast<std::size_t>(i * k + j)], expected)
            << name << " " << i << " " << j;
      }
  }
  EXPECT_EQ(file.tensors().size(), compared);
}

class GgufExport : public testing::Test {
 protected:
  // What the text file holds, and how many modules had to be widened.
  struct Exported : GgufFileReport {
    std::int64_t widened = 0;
  };
  Exported export_quantized(const QuantizeStyle& style) {
    write_quantized(folder.path() / "model", style);
    const auto c = Checkpoint::open(folder.path() / "model");
    auto report = export_gguf(c, out, {});
    expect_equal(c, GgufFile(out));
    return {report.text, report.widened};
  }
  test::ScratchFolder folder;
  fs::path out = folder.path() / "out.gguf";
};

TEST_F(GgufExport, SixteenBitsStayThemselves) {
  const auto c = Checkpoint::open(test::tiny_model());
  const auto report = export_gguf(c, out, {}).text;
  expect_equal(c, GgufFile(out));
  EXPECT_EQ(report.tensors.at("BF16"), 72);
  EXPECT_EQ(report.tensors.at("F32"), 52);
}

TEST_F(GgufExport, EightBitsBecomeQ8_0) {
  const auto report = export_quantized({});
  EXPECT_EQ(report.tensors.at("Q8_0"), 50);
  EXPECT_EQ(report.widened, 0);
}
TEST_F(GgufExport, WholeRowsBecomeQ8_0) {
  EXPECT_EQ(export_quantized({.group_size = -1}).tensors.at("Q8_0"), 50);
}
TEST_F(GgufExport, FourBitsBecomeQ4_0) {
  EXPECT_EQ(export_quantized({.bits = 4, .group_size = 64}).tensors.at("Q4_0"), 50);
}
TEST_F(GgufExport, ThreeBitsAndZeroPointsFitInt8) {
  EXPECT_EQ(export_quantized({.bits = 3}).tensors.at("Q8_0"), 50);
  fs::remove(out);
  fs::remove_all(folder.path() / "model");
  EXPECT_EQ(export_quantized({.bits = 4, .zeros = true}).tensors.at("Q8_0"), 50);
}
TEST_F(GgufExport, WhatNoBlockHoldsBecomesF32) {
  EXPECT_EQ(export_quantized({.zeros = true}).widened, 50);
  fs::remove(out);
  fs::remove_all(folder.path() / "model");
  EXPECT_EQ(export_quantized({.group_size = 64, .act_order = true}).widened, 50);
}

TEST_F(GgufExport, MetadataIsWhatLlamaCppAsksFor) {
  const auto c = Checkpoint::open(test::tiny_model());
  export_gguf(c, out, {});
  const GgufFile file(out);
  const auto number = [&](const char* key) {
    const auto* v = file.find(key);
    return v ? static_cast<std::int64_t>(std::get<std::uint32_t>(*v)) : -1;
  };
  EXPECT_EQ(std::get<std::string>(*file.find("general.architecture")), "qwen35");
  EXPECT_EQ(number("qwen35.block_count"), 9);
  EXPECT_EQ(number("qwen35.nextn_predict_layers"), 1);
  EXPECT_EQ(number("qwen35.embedding_length"), 256);
  EXPECT_EQ(number("qwen35.ssm.inner_size"), 768);
  EXPECT_EQ(number("qwen35.ssm.time_step_rank"), 12);
  EXPECT_EQ(number("qwen35.rope.dimension_count"), 16);
  EXPECT_EQ(number("qwen35.full_attention_interval"), 4);
  EXPECT_EQ(std::get<std::vector<std::int32_t>>(*file.find("qwen35.rope.dimension_sections")),
            (std::vector<std::int32_t>{3, 3, 2, 0}));
  EXPECT_EQ(number("tokenizer.ggml.eos_token_id"), 4042);
  EXPECT_EQ(number("tokenizer.ggml.bos_token_id"), 4040);
  EXPECT_EQ(std::get<std::string>(*file.find("tokenizer.ggml.pre")), "qwen35");
  const auto& tokens = std::get<std::vector<std::string>>(*file.find("tokenizer.ggml.tokens"));
  const auto& types = std::get<std::vector<std::int32_t>>(*file.find("tokenizer.ggml.token_type"));
  ASSERT_EQ(tokens.size(), 4096u);
  ASSERT_EQ(types.size(), 4096u);
  EXPECT_EQ(tokens[4042], "<|im_end|>");
  EXPECT_EQ(types[4042], 3);
  EXPECT_EQ(types[100], 1);
  EXPECT_EQ(std::get<std::string>(*file.find("tokenizer.chat_template")),
            read_file(test::tiny_model() / "chat_template.jinja"));
}

TEST_F(GgufExport, WithoutMtp) {
  const auto c = Checkpoint::open(test::tiny_model());
  export_gguf(c, out, {.mmproj = {}, .mtp = false, .overwrite = false});
  const GgufFile file(out);
  EXPECT_EQ(file.find("qwen35.nextn_predict_layers"), nullptr);
  EXPECT_EQ(file.find_tensor("blk.8.attn_norm.weight"), nullptr);
}

TEST_F(GgufExport, VisionTower) {
  const auto c = Checkpoint::open(test::tiny_model());
  const fs::path mmproj = folder.path() / "mmproj.gguf";
  export_gguf(c, out, {.mmproj = mmproj, .mtp = true, .overwrite = false});
  const GgufFile file(mmproj);
  const auto& v = *c.config().vision;
  EXPECT_EQ(file.tensors().size(), static_cast<std::size_t>(12 * v.depth + 4 + 6));
  // The patch embedding, one tensor a frame.
  const std::string name = "model.visual.patch_embed.proj.weight";
  const std::int64_t planes = v.hidden_size * v.in_channels, pixels = v.patch_size * v.patch_size;
  auto t = c.get(name, {v.hidden_size, v.in_channels, 2, v.patch_size, v.patch_size});
  t.shape = {planes * 2, pixels};
  const auto whole = ops::dequantize(model::dense_part(t), {0, planes * 2}, {0, pixels});
  for (std::int64_t frame = 0; frame < 2; ++frame) {
    const auto* part =
        file.find_tensor(frame == 0 ? "v.patch_embd.weight" : "v.patch_embd.weight.1");
    ASSERT_TRUE(part);
    const auto values = values_of(*part);
    for (std::int64_t p = 0; p < planes; ++p)
      for (std::int64_t i = 0; i < pixels; ++i)
        ASSERT_EQ(values[static_cast<std::size_t>(p * pixels + i)],
                  whole[static_cast<std::size_t>((2 * p + frame) * pixels + i)]);
  }
  const auto* fc = file.find_tensor("mm.2.weight");
  ASSERT_TRUE(fc);
  EXPECT_EQ(fc->shape[0], v.out_hidden_size);
}

TEST_F(GgufExport, NothingIsOverwritten) {
  write_file(out, "mine");
  const auto c = Checkpoint::open(test::tiny_model());
  const auto refused = [&](const fs::path& to, const GgufOptions& options, const char* part) {
    try {
      export_gguf(c, to, options);
      ADD_FAILURE() << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  refused(out, {}, "--overwrite");
  EXPECT_EQ(read_file(out), "mine");
  export_gguf(c, out, {.mmproj = {}, .mtp = true, .overwrite = true});
  EXPECT_GT(fs::file_size(out), 1000u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
  // Never the model's own files, never both into one, never a folder; and all of that before
  // anything is written.
  const auto before = read_file(out);
  refused(folder.path(), {.mmproj = {}, .mtp = true, .overwrite = true}, "not a file");
  refused(out, {.mmproj = folder.path() / "." / "out.gguf", .mtp = true, .overwrite = true},
          "--mmproj");
  refused(out, {.mmproj = folder.path() / "none" / "m.gguf", .mtp = true, .overwrite = true},
          "folder that exists");
  refused("", {}, "name of a file");
  const auto shard = test::tiny_model() / "model-00001-of-00002.safetensors";
  refused(shard, {.mmproj = {}, .mtp = true, .overwrite = true}, "file of the model");
  EXPECT_EQ(read_file(out), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace octet::exporter
