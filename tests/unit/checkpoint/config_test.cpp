#include "checkpoint/config.h"

#include <gtest/gtest.h>

#include <functional>

#include "checkpoint/expected_tensors.h"
#include "runtime/base/error.h"
#include "support/support.h"

namespace octet::checkpoint {
namespace {

struct Size {
  const char* name;
  std::int64_t hidden, intermediate, layers, heads, kv, value_heads;
  bool tied;
  std::int64_t depth, vision_hidden, vision_intermediate, vision_heads;
  std::int64_t text, vision, mtp;  // parameters
  std::int64_t text_n, vision_n;   // tensors
};
// docs/model.md §1.4: totals implied by the published indexes.
constexpr Size kSizes[] = {{"0.8B", 1024, 3584, 24, 8, 2, 16, true, 12, 768, 3072, 12, 752393024,
                            100592896, 20452864, 320, 153},
                           {"2B", 2048, 6144, 24, 8, 2, 16, true, 24, 1024, 4096, 16, 1881825088,
                            331416576, 60828160, 320, 297},
                           {"4B", 2560, 9216, 32, 16, 4, 32, true, 24, 1024, 4096, 16, 4205751296,
                            333514240, 120599552, 426, 297},
                           {"9B", 4096, 12288, 32, 16, 4, 32, false, 27, 1152, 4304, 16, 8953803264,
                            456010480, 243290624, 427, 333},
                           {"27B", 5120, 17408, 64, 24, 4, 48, false, 27, 1152, 4304, 16,
                            26895998464, 460730096, 424699392, 851, 333}};

json::object published(const Size& s, bool newer) {
  json::object text{{"model_type", "qwen3_5_text"},
                    {"hidden_size", s.hidden},
                    {"intermediate_size", s.intermediate},
                    {"num_hidden_layers", s.layers},
                    {"num_attention_heads", s.heads},
                    {"num_key_value_heads", s.kv},
                    {"head_dim", 256},
                    {"linear_num_key_heads", 16},
                    {"linear_num_value_heads", s.value_heads},
                    {"linear_key_head_dim", 128},
                    {"linear_value_head_dim", 128},
                    {"max_position_embeddings", 262144},
                    {"vocab_size", 248320},
                    {"mtp_num_hidden_layers", 1},
                    {"attention_bias", false},
                    {"attn_output_gate", true},
                    {"rms_norm_eps", 1e-6},
                    {"eos_token_id", 248044},
                    {"pad_token_id", nullptr},
                    {"future_key", {1, 2}}};
  json::object rope{
      {"rope_type", "default"}, {"mrope_interleaved", true}, {"mrope_section", {11, 11, 10}}};
  if (newer) {
    rope["rope_theta"] = 10000000;
    rope["partial_rotary_factor"] = 0.25;
    text["rope_parameters"] = rope;
    text["output_gate_type"] = "swish";
    text["dtype"] = "bfloat16";
    json::array types;
    for (std::int64_t i = 0; i < s.layers; ++i)
      types.emplace_back(i % 4 == 3 ? "full_attention" : "linear_attention");
    text["layer_types"] = types;
    text["ignore_keys_at_rope_validation"] = {"mrope_section"};
  } else {
    text["rope_scaling"] = rope;
    text["rope_theta"] = 1e7;
    text["partial_rotary_factor"] = 0.25;
    text["full_attention_interval"] = 4;
    text["torch_dtype"] = "bfloat16";
    text["ignore_keys_at_rope_validation"] = "{'mrope_section'}";
  }
  return {{"architectures", {"Qwen3_5ForConditionalGeneration"}},
          {"model_type", "qwen3_5"},
          {"tie_word_embeddings", s.tied},
          {"text_config", text},
          {"vision_config",
           {{"depth", s.depth},
            {"hidden_size", s.vision_hidden},
            {"intermediate_size", s.vision_intermediate},
            {"num_heads", s.vision_heads},
            {"out_hidden_size", s.hidden}}}};
}

TEST(Config, EveryPublishedSizeInBothForms) {
  for (const Size& s : kSizes)
    for (const bool newer : {false, true}) {
      const ModelConfig c = parse_config(published(s, newer), s.name);
      EXPECT_EQ(c.text.rope_parameters.rope_theta, 1e7);
      EXPECT_EQ(c.text.rotary_dim(), 64);
      EXPECT_EQ(c.text.dtype, "bfloat16");
      EXPECT_FALSE(c.text.is_full_attention(2));
      EXPECT_TRUE(c.text.is_full_attention(3));
      std::int64_t parameters[3] = {}, count[3] = {};
      for (const ExpectedTensor& t : expected_tensors(c)) {
        parameters[static_cast<int>(t.part)] += num_elements(t.shape);
        ++count[static_cast<int>(t.part)];
      }
      EXPECT_EQ(parameters[0], s.text) << s.name;
      EXPECT_EQ(parameters[1], s.vision) << s.name;
      EXPECT_EQ(parameters[2], s.mtp) << s.name;
      EXPECT_EQ(count[0], s.text_n);
      EXPECT_EQ(count[1], s.vision_n);
      EXPECT_EQ(count[2], 15);
      EXPECT_TRUE(c.raw.at("text_config").as_object().contains("future_key"));
    }
}

TEST(Config, TextOnlyAndDefaults) {
  const ModelConfig c = parse_config({{"model_type", "qwen3_5_text"}}, "t");
  EXPECT_EQ(c.architecture, "Qwen3_5ForCausalLM");
  EXPECT_EQ(c.text.hidden_size, 4096);
  EXPECT_EQ(c.text.max_position_embeddings, 32768);
  EXPECT_EQ(c.text.layer_types.size(), 32u);
  EXPECT_FALSE(c.vision);
}

TEST(Config, YarnAndQuantization) {
  json::object file = published(kSizes[0], true);
  auto& rope = file["text_config"].as_object()["rope_parameters"].as_object();
  rope["rope_type"] = "yarn";
  rope["factor"] = 4.0;
  rope["original_max_position_embeddings"] = 262144;
  file["quantization_config"] = {{"quant_method", "gptq"},
                                 {"bits", 4},
                                 {"group_size", -1},
                                 {"desc_act", true},
                                 {"sym", false},
                                 {"checkpoint_format", "gptq_v2"},
                                 {"dynamic", {{"-:.*mtp.*", json::object()}}}};
  const ModelConfig c = parse_config(file, "t");
  EXPECT_EQ(c.text.rope_parameters.rope_type, "yarn");
  EXPECT_EQ(c.text.rope_parameters.factor, 4);
  EXPECT_EQ(c.quantization->bits, 4);
  EXPECT_EQ(c.quantization->group_size, -1);
  EXPECT_EQ(c.quantization->dynamic.size(), 1u);
}

TEST(Config, NonsenseIsRefusedByKey) {
  const auto refuse = [](const char* key,
                         const std::function<void(json::object&, json::object&)>& change) {
    json::object file = published(kSizes[4], true);
    change(file, file["text_config"].as_object());
    try {
      parse_config(file, "config.json");
      ADD_FAILURE() << key << " was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::bad_data);
      EXPECT_NE(std::string(e.what()).find("config.json"), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(key), std::string::npos) << e.what();
    }
  };
  refuse("model_type", [](auto& f, auto&) { f["model_type"] = "qwen3_5_moe"; });
  refuse("model_type", [](auto& f, auto&) { f["model_type"] = "llama"; });
  refuse("text_config", [](auto& f, auto&) { f["text_config"] = 3; });
  refuse("hidden_size", [](auto&, auto& t) { t["hidden_size"] = 0; });
  refuse("hidden_size", [](auto&, auto& t) { t["hidden_size"] = -5; });
  refuse("hidden_size", [](auto&, auto& t) { t["hidden_size"] = "big"; });
  refuse("vocab_size", [](auto&, auto& t) { t["vocab_size"] = 1e18; });
  refuse("num_attention_heads", [](auto&, auto& t) { t["num_attention_heads"] = 23; });
  refuse("linear_num_value_heads", [](auto&, auto& t) { t["linear_num_value_heads"] = 47; });
  refuse("mrope_section",
         [](auto&, auto& t) { t["rope_parameters"].as_object()["mrope_section"] = {11, 11, 9}; });
  refuse("mrope_section",
         [](auto&, auto& t) { t["rope_parameters"].as_object()["mrope_section"] = {11}; });
  refuse("rope_type",
         [](auto&, auto& t) { t["rope_parameters"].as_object()["rope_type"] = "linear"; });
  refuse("partial_rotary_factor",
         [](auto&, auto& t) { t["rope_parameters"].as_object()["partial_rotary_factor"] = 0.002; });
  refuse("layer_types", [](auto&, auto& t) { t["layer_types"].as_array().pop_back(); });
  refuse("layer_types", [](auto&, auto& t) { t["layer_types"].as_array()[0] = "mamba"; });
  refuse("attention_bias", [](auto&, auto& t) { t["attention_bias"] = true; });
  refuse("hidden_act", [](auto&, auto& t) { t["hidden_act"] = "gelu"; });
  refuse("bits", [](auto& f, auto&) {
    f["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 5}};
  });
  refuse("group_size", [](auto& f, auto&) {
    f["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 0}};
  });
  refuse("quant_method",
         [](auto& f, auto&) { f["quantization_config"] = {{"quant_method", "awq"}}; });
  refuse("vision_config",
         [](auto& f, auto&) { f["vision_config"].as_object()["out_hidden_size"] = 7; });
  EXPECT_THROW(parse_config(json::array(), "t"), Error);
  EXPECT_THROW(read_config("/nonexistent"), Error);
}

TEST(Config, GenerationDefaults) {
  const ModelConfig c = read_config(test::tiny_model());
  const GenerationConfig g = read_generation_config(test::tiny_model(), c);
  EXPECT_EQ(g.eos_token_id, (std::vector<std::int64_t>{4042, 4040}));
  EXPECT_EQ(g.top_k, 20);
  const test::ScratchFolder empty;
  EXPECT_EQ(read_generation_config(empty.path(), c).eos_token_id,
            (std::vector<std::int64_t>{4040}));
}

}  // namespace
}  // namespace octet::checkpoint
