#include "checkpoint/config_overrides.h"

#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "runtime/base/error.h"
#include "support/support.h"

namespace octet::checkpoint {
namespace {

json::object object(const std::string& text) {
  return parse_json(text, "test").as_object();
}

std::string merged(const std::string& config, const std::string& overrides) {
  json::object into = object(config);
  merge_overrides(into, object(overrides));
  return to_json(into);
}

json::value tiny() {
  return read_json(test::tiny_model() / "config.json");
}

ModelConfig overridden(const std::string& overrides) {
  return parse_overridden(tiny(), "config.json", object(overrides));
}

TEST(ConfigOverrides, ObjectsMergeAndEverythingElseReplaces) {
  EXPECT_EQ(merged(R"({"a": 1, "b": {"c": 2, "d": {"e": [1, 2], "f": 3}}})",
                   R"({"a": {"x": 1}, "b": {"d": {"e": [9]}, "n": null}, "z": "s"})"),
            R"({"a": {"x": 1}, "b": {"c": 2, "d": {"e": [9], "f": 3}, "n": null}, "z": "s"})");
  EXPECT_EQ(merged(R"({"b": {"c": 2}})", R"({"b": 5})"), R"({"b": 5})");
  EXPECT_EQ(merged(R"({"b": {"c": 2}})", R"({"b": {}, "e": {}})"), R"({"b": {"c": 2}, "e": {}})");
  EXPECT_EQ(merged("{}", R"({"a": {"b": {"c": 1}}})"), R"({"a": {"b": {"c": 1}}})");
}

// Recipes of older models: what would be set beside the newer keys, and lose to them.
TEST(ConfigOverrides, OlderNamesReachWhatIsRead) {
  const std::string old = R"("rope_scaling": {"type": "yarn", "factor": 4.0})";
  const auto c = overridden(R"({"text_config": {)" + old + R"(, "rope_theta": 5000}})");
  EXPECT_EQ(c.text.rope_parameters.rope_type, "yarn");
  EXPECT_EQ(c.text.rope_parameters.factor, 4);
  EXPECT_EQ(c.text.rope_parameters.rope_theta, 5000);
  EXPECT_EQ(c.text.rope_parameters.mrope_section[0], 3);
  EXPECT_TRUE(c.overrides.unread.empty());
  // A file that has the older keys itself keeps them.
  EXPECT_EQ(merged(R"({"rope_scaling": {"type": "default"}, "rope_theta": 1})",
                   R"({"rope_scaling": {"type": "yarn"}, "rope_theta": 2})"),
            R"({"rope_scaling": {"type": "yarn"}, "rope_theta": 2})");
  // Who writes both means both.
  EXPECT_EQ(merged(R"({"rope_parameters": {"rope_theta": 1}})",
                   R"({"rope_parameters": {"rope_theta": 3}, "rope_theta": 2})"),
            R"({"rope_parameters": {"rope_theta": 3}, "rope_theta": 2})");
}

TEST(ConfigOverrides, TextConfigOfATextOnlyFileIsTheFile) {
  const json::value file{{"model_type", "qwen3_5_text"}, {"hidden_size", 512}};
  const auto c =
      parse_overridden(file, "config.json",
                       object(R"({"text_config": {"max_position_embeddings": 70000, "head_dim": 64,
                 "rope_parameters": {"mrope_section": [3, 3, 2]}}})"));
  EXPECT_EQ(c.text.max_position_embeddings, 70000);
  EXPECT_EQ(c.text.hidden_size, 512);
  EXPECT_EQ(c.text.rope_parameters.mrope_section[2], 2);
  EXPECT_TRUE(c.overrides.unread.empty());
}

TEST(ConfigOverrides, TheMergedFileIsKept) {
  const auto c = overridden(R"({"text_config": {"max_position_embeddings": 5}, "new": [1]})");
  EXPECT_EQ(c.text.max_position_embeddings, 5);
  EXPECT_EQ(c.raw.at("text_config").at("max_position_embeddings").as_int64(), 5);
  EXPECT_EQ(c.raw.at("text_config").at("head_dim").as_int64(), 64);
  EXPECT_TRUE(c.raw.contains("new"));
}

TEST(ConfigOverrides, WhatNobodyReadsIsTold) {
  const auto c = overridden(
      R"({"max_position_embeddings": 9, "architectures": ["X"], "quantization_config": {
          "quant_method": "gptq", "bits": 8, "dynamic": {"-:mtp": {}}, "bit": 4},
          "text_config": {"rope_parmeters": {"a": 1, "b": 2}, "use_cache": false,
                          "rope_parameters": {"rope_type": "yarn", "facto": 4.0}}})");
  EXPECT_EQ(c.overrides.unread,
            (std::vector<std::string>{"max_position_embeddings", "quantization_config.bit",
                                      "text_config.rope_parmeters", "text_config.use_cache",
                                      "text_config.rope_parameters.facto"}));
  const auto knows = [&](const char* key) {
    return std::ranges::find(c.overrides.known, key) != c.overrides.known.end();
  };
  EXPECT_TRUE(knows("text_config.max_position_embeddings"));
  EXPECT_TRUE(knows("text_config.rope_parameters.factor"));
  // Everything that is read, told by nobody.
  const auto all = overridden(to_json(tiny()));
  for (const std::string& key : all.overrides.unread)
    EXPECT_EQ(key.find("rope"), std::string::npos);
}

TEST(ConfigOverrides, ErrorsNameWhoeverMadeThem) {
  const auto message = [](const json::value& file, const std::string& overrides, ErrorCode code) {
    try {
      parse_overridden(file, "/m/config.json", object(overrides));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      return std::string(e.what());
    }
    ADD_FAILURE() << overrides << " was accepted";
    return std::string();
  };
  for (const auto& [overrides, key] :
       {std::pair{R"({"text_config": {"rope_parameters": {"factor": "x"}}})", "factor"},
        std::pair{R"({"text_config": {"rope_parameters": {"rope_type": "linear"}}})", "rope_type"},
        std::pair{R"({"text_config": {"max_position_embeddings": -1}})", "max_position_embeddings"},
        std::pair{R"({"text_config": []})", "text_config"},
        std::pair{R"({"text_config": {"num_hidden_layers": 3}})", "layer_types"},
        std::pair{R"({"model_type": "llama"})", "model_type"}}) {
    const std::string m = message(tiny(), overrides, ErrorCode::invalid_argument);
    EXPECT_TRUE(m.starts_with("--hf-overrides: ")) << m;
    EXPECT_NE(m.find(key), std::string::npos) << m;
  }
  json::value broken = tiny();
  broken.as_object()["text_config"].as_object()["head_dim"] = 0;
  EXPECT_TRUE(message(broken, R"({"a": 1})", ErrorCode::bad_data).starts_with("/m/config.json"));
  // Overrides may mend a file.
  EXPECT_EQ(
      parse_overridden(broken, "", object(R"({"text_config": {"head_dim": 64}})")).text.head_dim,
      64);
  message(json::array(), "{}", ErrorCode::bad_data);
}

TEST(ConfigOverrides, WhetherTensorsChange) {
  for (const char* same :
       {R"({"text_config": {"max_position_embeddings": 5}})", R"({"new": 1})",
        R"({"text_config": {"rope_parameters": {"rope_type": "yarn", "factor": 4}}})"})
    EXPECT_FALSE(overridden(same).overrides.changes_tensors) << same;
  for (const char* other :
       {R"({"text_config": {"intermediate_size": 320}})", R"({"tie_word_embeddings": true})",
        R"({"text_config": {"num_hidden_layers": 4, "layer_types": null}})",
        R"({"quantization_config": {"quant_method": "gptq", "bits": 4}})"})
    EXPECT_TRUE(overridden(other).overrides.changes_tensors) << other;
}

TEST(ConfigOverrides, TheContextIsWhatYarnStretchesTo) {
  EXPECT_EQ(overridden("{}").text.context_length(), 16384);
  EXPECT_EQ(
      overridden(R"({"text_config": {"max_position_embeddings": 1010000}})").text.context_length(),
      1010000);
  const auto yarn = [](const std::string& more) {
    return overridden(R"({"text_config": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0)" +
                      more)
        .text;
  };
  EXPECT_EQ(yarn(R"(, "original_max_position_embeddings": 262144}}})").context_length(), 1048576);
  // As in the reference: the original is the model's own.
  EXPECT_EQ(yarn("}}}").rope_parameters.original_max_position_embeddings, 16384);
  EXPECT_EQ(yarn("}}}").context_length(), 65536);
  EXPECT_EQ(yarn(R"(, "original_max_position_embeddings": 1000}}})").context_length(), 16384);
  // Beyond any size: held, not overflowed.
  EXPECT_EQ(yarn(R"(, "original_max_position_embeddings": 268435456}}})").context_length(),
            268435456);
}

TEST(ConfigOverrides, ACheckpointThatTheyContradictIsRefused) {
  const auto c = Checkpoint::open(test::tiny_model(),
                                  object(R"({"text_config": {"intermediate_size": 320}})"));
  try {
    c.linear("model.language_model.layers.0.mlp.up_proj", c.config().text.intermediate_size,
             c.config().text.hidden_size);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_data);
    EXPECT_NE(std::string(e.what()).find("up_proj"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace octet::checkpoint
