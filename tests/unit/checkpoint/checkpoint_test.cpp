// Whole folders: layouts, GPTQ forms, damage.

#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>

#include "checkpoint/inventory.h"
#include "checkpoint/locate.h"
#include "checkpoint/safetensors_writer.h"
#include "runtime/base/error.h"
#include "support/support.h"

namespace octet::checkpoint {
namespace {

namespace fs = std::filesystem;

struct Item {
  TensorPlan plan;
  std::vector<std::byte> data;
};

template <typename T>
Item item(std::string name, DType type, Shape shape, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {{std::move(name), type, std::move(shape)}, {bytes.begin(), bytes.end()}};
}

void write_items(const fs::path& path, const std::vector<Item>& items) {
  std::vector<TensorPlan> plan;
  for (const Item& i : items) plan.push_back(i.plan);
  SafetensorsWriter writer(path, plan);
  for (const Item& i : items) writer.add(i.plan.name, i.data);
  writer.finish();
}

// One small text layer of each kind, sizes that GPTQ can pack.
json::object small_config() {
  return {{"model_type", "qwen3_5"},
          {"text_config",
           {{"hidden_size", 64},
            {"intermediate_size", 96},
            {"num_hidden_layers", 2},
            {"full_attention_interval", 2},
            {"num_attention_heads", 2},
            {"num_key_value_heads", 1},
            {"head_dim", 32},
            {"linear_num_key_heads", 1},
            {"linear_num_value_heads", 2},
            {"linear_key_head_dim", 32},
            {"linear_value_head_dim", 32},
            {"vocab_size", 32},
            {"rope_parameters", {{"partial_rotary_factor", 0.5}, {"mrope_section", {3, 3, 2}}}}}}};
}

std::vector<Item> dense_items(const ModelConfig& config,
                              const std::function<std::string(const std::string&)>& rename) {
  std::vector<Item> items;
  for (const ExpectedTensor& t : expected_tensors(config))
    items.push_back(
        item(rename(t.name), DType::bf16, t.shape,
             std::vector<std::uint16_t>(static_cast<std::size_t>(num_elements(t.shape)), 0x3f80)));
  return items;
}

fs::path write_model(const fs::path& folder, json::object config, const std::vector<Item>& items) {
  write_file(folder / "config.json", to_json(config));
  write_items(folder / "model.safetensors", items);
  return folder;
}

ErrorCode code_of(const std::function<void()>& f, const std::string& part = "") {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    return e.code();
  }
  ADD_FAILURE() << "no error: " << part;
  return ErrorCode::internal;
}

TEST(Checkpoint, OpensTinyAndItsPublishedLayout) {
  const auto c = Checkpoint::open(test::tiny_model());
  c.require_text();
  EXPECT_TRUE(c.has_vision());
  EXPECT_TRUE(c.has_mtp());
  EXPECT_EQ(c.get("model.language_model.norm.weight", {256}).shape, (Shape{256}));
  EXPECT_EQ(code_of([&] { (void)c.get("model.language_model.norm.weight", {255}); }, "norm.weight"),
            ErrorCode::bad_data);
  EXPECT_EQ(code_of([&] { (void)c.get("nothing", {1}); }, "nothing"), ErrorCode::bad_data);
  const auto i = take_inventory(c);
  EXPECT_EQ(i.linear_layers, 6);
  EXPECT_EQ(i.full_layers, 2);
  EXPECT_EQ(i.mtp_tensors, 15);
  EXPECT_EQ(i.vision_tensors, 3 * 12 + 9);
  EXPECT_EQ(i.quantized_modules, 0);
  EXPECT_TRUE(i.missing.empty());
  EXPECT_EQ(locate_model("tiny"), test::tiny_model());
}

TEST(Checkpoint, TextOnlyPrefixAndTiedHead) {
  const ModelConfig config = parse_config(small_config(), "t");
  const test::ScratchFolder folder;
  json::object file = small_config();
  file["tie_word_embeddings"] = true;
  auto items = dense_items(config, [](const std::string& name) {
    return name.starts_with("model.language_model.") ? "model." + name.substr(21) : name;
  });
  std::erase_if(items, [](const Item& i) { return i.plan.name == "lm_head.weight"; });
  const auto c = Checkpoint::open(write_model(folder.path(), file, items));
  c.require_text();
  EXPECT_EQ(c.tensors()[0].name.find("language_model"), std::string::npos);
  EXPECT_EQ(c.find("lm_head.weight")->name, "model.embed_tokens.weight");
  EXPECT_EQ(Checkpoint::canonical_name("model.mtp.fc.weight"), "mtp.fc.weight");
}

TEST(Checkpoint, MissingPartsAreReportedOrRefused) {
  json::object file = small_config();
  file["text_config"].as_object()["mtp_num_hidden_layers"] = 1;
  file["vision_config"] = {{"out_hidden_size", 64}, {"depth", 1}};
  const ModelConfig config = parse_config(file, "t");
  const test::ScratchFolder folder;
  auto items = dense_items(config, [](const std::string& n) { return n; });
  std::erase_if(items, [](const Item& i) {
    return i.plan.name.starts_with("mtp.") || i.plan.name.starts_with("model.visual.merger");
  });
  {
    const auto c = Checkpoint::open(write_model(folder.path(), file, items));
    c.require_text();
    EXPECT_FALSE(c.has_mtp());
    EXPECT_FALSE(c.has_vision());
    EXPECT_EQ(c.missing(TensorClass::mtp).size(), 15u);
    EXPECT_EQ(c.missing(TensorClass::vision).size(), 6u);
  }
  std::erase_if(items, [](const Item& i) { return i.plan.name.ends_with("q_proj.weight"); });
  const auto c = Checkpoint::open(write_model(folder.path(), file, items));
  EXPECT_EQ(code_of([&] { c.require_text(); }, "q_proj.weight"), ErrorCode::bad_data);
}

TEST(Checkpoint, ShardsAndTheirIndex) {
  const ModelConfig config = parse_config(small_config(), "t");
  const test::ScratchFolder folder;
  auto items = dense_items(config, [](const std::string& n) { return n; });
  const auto half = items.begin() + static_cast<std::ptrdiff_t>(items.size() / 2);
  write_file(folder.path() / "config.json", to_json(small_config()));
  write_items(folder.path() / "one.safetensors", {items.begin(), half});
  write_items(folder.path() / "two.safetensors", {half, items.end()});
  const auto index = [&](const std::string& last_file, const std::string& extra) {
    json::object map;
    for (auto it = items.begin(); it != items.end(); ++it)
      map[it->plan.name] = it < half ? "one.safetensors" : last_file;
    if (!extra.empty()) map[extra] = "one.safetensors";
    write_file(folder.path() / "model.safetensors.index.json",
               to_json(json::object{{"weight_map", map}}));
  };
  EXPECT_EQ(code_of([&] { Checkpoint::open(folder.path()); }, "more than one"),
            ErrorCode::not_found);
  index("two.safetensors", "");
  Checkpoint::open(folder.path()).require_text();
  index("three.safetensors", "");
  EXPECT_EQ(code_of([&] { Checkpoint::open(folder.path()); }, "three.safetensors"),
            ErrorCode::not_found);
  index("two.safetensors", "not.there");
  EXPECT_EQ(code_of([&] { Checkpoint::open(folder.path()); }, "not.there"), ErrorCode::bad_data);
  index("../two.safetensors", "");
  EXPECT_EQ(code_of([&] { Checkpoint::open(folder.path()); }, "not a file name"),
            ErrorCode::bad_data);
  write_file(folder.path() / "model.safetensors.index.json", "{}");
  EXPECT_EQ(code_of([&] { Checkpoint::open(folder.path()); }, "weight_map"), ErrorCode::bad_data);
  EXPECT_EQ(code_of([&] { Checkpoint::open(folder.path() / "none"); }), ErrorCode::not_found);
}

// Packs by the rule of docs/formats/gptq.md, written down independently of the product's packer.
std::vector<std::uint32_t> pack_bits(const std::vector<std::uint32_t>& values, std::int64_t bits) {
  std::vector<std::uint32_t> words(values.size() * static_cast<std::size_t>(bits) / 32);
  for (std::size_t i = 0; i < values.size(); ++i)
    for (std::int64_t b = 0; b < bits; ++b)
      if (values[i] >> b & 1) {
        const std::size_t bit = i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(b);
        words[bit / 32] |= 1u << bit % 32;
      }
  return words;
}

struct GptqCase {
  std::int64_t bits = 8, group = 32;
  bool sym = true, v2 = false, act_order = false;
  DType scales = DType::f16;
};

constexpr std::int64_t kOut = 96, kIn = 64;  // gate_proj of the small model

// Tensors of one module and the weight that they mean.
std::pair<std::vector<Item>, std::vector<double>> make_gptq(const std::string& m,
                                                            const GptqCase& c) {
  std::mt19937 rng(static_cast<unsigned>(c.bits * 100 + c.group));
  const std::int64_t group = c.group < 0 ? kIn : c.group, groups = kIn / group;
  const std::uint32_t mask = (1u << c.bits) - 1;
  std::vector<std::uint32_t> codes(kOut * kIn), zeros(static_cast<std::size_t>(groups * kOut));
  for (auto& x : codes) x = rng() & mask;
  for (auto& x : zeros) x = c.sym ? 1u << (c.bits - 1) : rng() & mask;
  std::vector<std::int32_t> index(kIn);
  for (std::int64_t k = 0; k < kIn; ++k)
    index[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(k / group);
  if (c.act_order) std::shuffle(index.begin(), index.end(), rng);
  std::vector<float> scales;
  for (std::int64_t i = 0; i < groups * kOut; ++i)
    scales.push_back(0.5f + static_cast<float>(rng() % 64) / 64);

  std::vector<std::uint32_t> qweight(static_cast<std::size_t>(kIn * c.bits / 32 * kOut)), qzeros;
  for (std::int64_t n = 0; n < kOut; ++n) {
    std::vector<std::uint32_t> column;
    for (std::int64_t k = 0; k < kIn; ++k)
      column.push_back(codes[static_cast<std::size_t>(n * kIn + k)]);
    const auto words = pack_bits(column, c.bits);
    for (std::size_t w = 0; w < words.size(); ++w)
      qweight[w * kOut + static_cast<std::size_t>(n)] = words[w];
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    std::vector<std::uint32_t> row;
    for (std::int64_t n = 0; n < kOut; ++n)
      row.push_back((zeros[static_cast<std::size_t>(g * kOut + n)] - (c.v2 ? 0 : 1)) & mask);
    const auto words = pack_bits(row, c.bits);
    qzeros.insert(qzeros.end(), words.begin(), words.end());
  }
  std::vector<Item> items{item(m + ".qweight", DType::i32, {kIn * c.bits / 32, kOut}, qweight),
                          item(m + ".qzeros", DType::i32, {groups, kOut * c.bits / 32}, qzeros),
                          item(m + ".g_idx", DType::i32, {kIn}, index)};
  std::vector<std::uint16_t> halves;
  for (const float s : scales)
    halves.push_back(c.scales == DType::bf16 ? float_to_bf16(s) : float_to_f16(s));
  items.push_back(c.scales == DType::f32 ? item(m + ".scales", DType::f32, {groups, kOut}, scales)
                                         : item(m + ".scales", c.scales, {groups, kOut}, halves));
  std::vector<double> weight;
  for (std::int64_t n = 0; n < kOut; ++n)
    for (std::int64_t k = 0; k < kIn; ++k) {
      const auto at = static_cast<std::size_t>(index[static_cast<std::size_t>(k)] * kOut + n);
      weight.push_back(
          scales[at] *
          (static_cast<double>(codes[static_cast<std::size_t>(n * kIn + k)]) - zeros[at]));
    }
  return {items, weight};
}

const std::string kModule = "model.language_model.layers.0.mlp.gate_proj";

// The small model with gate_proj of layer 0 quantized; change() may damage it.
fs::path gptq_model(const fs::path& folder, const GptqCase& c, const std::string& prefix,
                    const std::function<void(std::vector<Item>&)>& change = {}) {
  json::object file = small_config();
  file["quantization_config"] = {
      {"quant_method", "gptq"},  {"bits", c.bits},
      {"group_size", c.group},   {"sym", c.sym},
      {"desc_act", c.act_order}, {"checkpoint_format", c.v2 ? "gptq_v2" : "gptq"}};
  const auto rename = [&](const std::string& n) {
    return n.starts_with("model.language_model.") ? prefix + n.substr(21) : n;
  };
  auto items = dense_items(parse_config(small_config(), "t"), rename);
  std::erase_if(items, [&](const Item& i) { return i.plan.name == rename(kModule + ".weight"); });
  for (Item& i : make_gptq(rename(kModule), c).first) items.push_back(std::move(i));
  if (change) change(items);
  return write_model(folder, file, items);
}

TEST(Gptq, EveryFormMeansTheSameWeight) {
  for (const std::int64_t bits : {2, 3, 4, 8})
    for (const std::int64_t group : {32, 64, -1, 16})
      for (const GptqCase form : {GptqCase{},
                                  {.v2 = true},
                                  {.sym = false},
                                  {.sym = false, .v2 = true},
                                  {.act_order = true},
                                  {.scales = DType::bf16},
                                  {.scales = DType::f32}})
        for (const char* prefix : {"model.language_model.", "model."}) {
          GptqCase c = form;
          c.bits = bits;
          c.group = group;
          const test::ScratchFolder folder;
          const auto checkpoint = Checkpoint::open(gptq_model(folder.path(), c, prefix));
          checkpoint.require_text();
          const auto tensors = checkpoint.linear(kModule, kOut, kIn);
          const auto& l = std::get<GptqLinear>(tensors);
          EXPECT_EQ(l.bits, bits);
          const auto codes = gptq_codes(l);
          const auto scales = gptq_scales(l);
          const auto zeros = gptq_zeros(l);
          auto index = gptq_group_index(l);
          EXPECT_EQ(index.empty(), !c.act_order || l.num_groups == 1);
          if (index.empty())
            for (std::int64_t k = 0; k < kIn; ++k)
              index.push_back(static_cast<std::int32_t>(k / l.group_size));
          const auto expected = make_gptq(kModule, c).second;
          for (std::int64_t n = 0; n < kOut; ++n)
            for (std::int64_t k = 0; k < kIn; ++k) {
              const auto at =
                  static_cast<std::size_t>(index[static_cast<std::size_t>(k)] * kOut + n);
              const int code =
                  static_cast<int>(codes[static_cast<std::size_t>((k / 4 * kOut + n) * 4 + k % 4)]);
              ASSERT_EQ(scales[at] * static_cast<float>(code - zeros[at]),
                        expected[static_cast<std::size_t>(n * kIn + k)])
                  << bits << " bits, group " << group << ", " << n << ", " << k;
            }
          if (bits == 8) {
            EXPECT_EQ(std::memcmp(codes.data(), l.qweight.bytes.data(), codes.size()), 0);
          }
        }
}

TEST(Gptq, ThePackerWritesTheSameWords) {
  for (const std::int64_t bits : {2, 3, 4, 8}) {
    const GptqCase c{.bits = bits};
    const auto [items, weight] = make_gptq("m", c);
    std::vector<std::uint8_t> codes;
    std::vector<float> scales(static_cast<std::size_t>(kOut * 2), 1.0f);
    std::mt19937 rng(static_cast<unsigned>(bits * 100 + 32));
    for (std::int64_t i = 0; i < kOut * kIn; ++i)
      codes.push_back(static_cast<std::uint8_t>(rng() & ((1u << bits) - 1)));
    const auto packed = pack_gptq(codes, scales, kOut, kIn, bits, 32);
    EXPECT_EQ(packed.qweight, items[0].data);
    EXPECT_EQ(packed.qzeros, items[1].data);
    EXPECT_EQ(packed.g_idx, items[2].data);
  }
  const auto first_zero = [](std::int64_t bits) {
    const auto p =
        pack_gptq(std::vector<std::uint8_t>(1024), std::vector<float>(32, 1.0f), 32, 32, bits, 32);
    std::uint32_t w;
    std::memcpy(&w, p.qzeros.data(), 4);
    return w;
  };
  EXPECT_EQ(first_zero(8), 0x7F7F7F7Fu);
  EXPECT_EQ(first_zero(4), 0x77777777u);
  EXPECT_EQ(first_zero(3), 0xDB6DB6DBu);
  EXPECT_EQ(first_zero(2), 0x55555555u);
}

TEST(Gptq, ThreeBitZerosOfAnOlderTool) {
  const test::ScratchFolder folder;
  const auto c = Checkpoint::open(
      gptq_model(folder.path(), {.bits = 3}, "model.", [](std::vector<Item>& items) {
        for (Item& i : items)
          if (i.plan.name.ends_with("qzeros")) {
            const std::uint32_t words[] = {0x00000000, 0xB6DB6DB7, 0x49249249};
            for (std::size_t w = 0; w < i.data.size() / 4; ++w)
              std::memcpy(i.data.data() + 4 * w, &words[w % 3], 4);
          }
      }));
  for (const auto z : gptq_zeros(std::get<GptqLinear>(c.linear(kModule, kOut, kIn))))
    EXPECT_EQ(z, 4);
}

TEST(Gptq, DamageIsNamed) {
  const auto refuse = [](const char* part, const std::function<void(std::vector<Item>&)>& change) {
    const test::ScratchFolder folder;
    EXPECT_EQ(code_of(
                  [&] {
                    const auto c =
                        Checkpoint::open(gptq_model(folder.path(), {}, "model.", change));
                    const auto tensors = c.linear(kModule, kOut, kIn);
                    gptq_scales(std::get<GptqLinear>(tensors));
                    gptq_group_index(std::get<GptqLinear>(tensors));
                  },
                  part),
              ErrorCode::bad_data);
  };
  const auto find = [](std::vector<Item>& items, const char* end) -> Item& {
    return *std::find_if(items.begin(), items.end(),
                         [&](const Item& i) { return i.plan.name.ends_with(end); });
  };
  refuse("scales", [&](auto& items) {
    const std::uint16_t nan = 0x7e00;
    std::memcpy(find(items, ".scales").data.data() + 6, &nan, 2);
  });
  refuse("g_idx", [&](auto& items) {
    const std::int32_t far = 99;
    std::memcpy(find(items, ".g_idx").data.data() + 8, &far, 4);
  });
  refuse("qzeros", [&](auto& items) {
    std::erase_if(items, [](const Item& i) { return i.plan.name.ends_with(".qzeros"); });
  });
  refuse("qweight", [&](auto& items) { find(items, ".qweight").plan.shape = {kOut, kIn / 4}; });
  refuse("qweight", [&](auto& items) { find(items, ".qweight").plan.dtype = DType::f32; });
  refuse("scales", [&](auto& items) { find(items, ".scales").plan.shape = {kOut, 2}; });
  refuse("qzeros", [&](auto& items) { find(items, ".qzeros").plan.shape = {1, kOut / 2}; });
  refuse("g_idx", [&](auto& items) { find(items, ".g_idx").plan.shape = {kIn / 2, 2}; });
  refuse("configuration says", [&](auto& items) {
    // Four-bit tensors in a folder that says eight.
    std::erase_if(items, [](const Item& i) {
      return i.plan.name.find("gate_proj.") != std::string::npos &&
             i.plan.name.find("layers.0") != std::string::npos;
    });
    for (Item& i : make_gptq("model.layers.0.mlp.gate_proj", {.bits = 4}).first)
      items.push_back(std::move(i));
  });
}

TEST(Locate, SaysWhereItLooked) {
  EXPECT_EQ(code_of([] { locate_model("no-such-model"); }, "no-such-model"), ErrorCode::not_found);
  const test::ScratchFolder home;
  setenv("HF_HOME", home.path().c_str(), 1);
  EXPECT_EQ(code_of([] { locate_model("Qwen/None"); }, "models--Qwen--None"), ErrorCode::not_found);
  const auto snapshot = home.path() / "hub" / "models--a--b" / "snapshots" / "123";
  fs::create_directories(snapshot);
  fs::create_directories(home.path() / "hub" / "models--a--b" / "refs");
  write_file(snapshot / "config.json", "{}");
  write_file(home.path() / "hub" / "models--a--b" / "refs" / "main", "123\n");
  EXPECT_EQ(locate_model("a/b"), snapshot);
  unsetenv("HF_HOME");
}

}  // namespace
}  // namespace octet::checkpoint
