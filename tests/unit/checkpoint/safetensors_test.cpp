#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "checkpoint/safetensors_writer.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "support/support.h"

namespace octet::checkpoint {
namespace {

std::string file_with(const std::string& header, std::size_t data_bytes) {
  std::string file(8, '\0');
  const std::uint64_t n = header.size();
  std::memcpy(file.data(), &n, 8);
  return file + header + std::string(data_bytes, 'd');
}

std::string refusal(const std::string& file) {
  try {
    parse_safetensors(std::as_bytes(std::span(file)), "x.safetensors");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_data) << e.what();
    EXPECT_NE(std::string(e.what()).find("x.safetensors"), std::string::npos) << e.what();
    return e.what();
  }
  return "";
}

const char* kGood =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"U8","shape":[],"data_offsets":[24,25]},"c":{"dtype":"BF16","shape":[0,7],"data_offsets":[25,25]}})";

TEST(Safetensors, ReadsWhatIsThere) {
  const std::string file = file_with(kGood, 25);
  const auto t = parse_safetensors(std::as_bytes(std::span(file)), "x");
  ASSERT_EQ(t.size(), 3u);
  EXPECT_EQ(t[0].name, "a");
  EXPECT_EQ(t[0].shape, (Shape{2, 3}));
  EXPECT_EQ(t[1].bytes.size(), 1u);
  EXPECT_EQ(t[2].bytes.size(), 0u);
}

TEST(Safetensors, CutAtEveryByteIsRefused) {
  const std::string file = file_with(kGood, 25);
  for (std::size_t n = 0; n < file.size(); ++n) EXPECT_NE(refusal(file.substr(0, n)), "") << n;
  EXPECT_NE(refusal(file + "x"), "");  // and one too many
}

TEST(Safetensors, LiesAreRefusedByName) {
  const auto expect = [](const std::string& header, std::size_t bytes, const std::string& part) {
    EXPECT_NE(refusal(file_with(header, bytes)).find(part), std::string::npos) << header;
  };
  expect(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "tensor a");
  expect(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "tensor a");  // hole
  expect(
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
      6, "tensor b");
  expect(R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", 4, "tensor a");  // outside
  expect(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[5,4]}})", 8, "tensor a");  // backwards
  expect(R"({"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,1]}})", 1, "tensor a");
  expect(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, "tensor a");
  expect(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 1, "tensor a");
  expect(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}})",
         4, "tensor a");
  expect(R"({"a":{"dtype":"F64","shape":[1073741824,1073741824,1073741824],"data_offsets":[0,0]}})",
         0, "tensor a");
  expect(R"({"a":{"dtype":"U8","shape":"x","data_offsets":[0,1]}})", 1, "tensor a");
  expect(R"({"a":{"dtype":"U8","shape":[1]}})", 1, "tensor a");
  expect(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "tensor a");
  expect(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]}})", 1,
         "tensor a");
  expect(R"({"a":7})", 0, "tensor a");
  expect(R"([])", 0, "begin with");
  expect(R"({"a":)", 0, "JSON");
  expect(R"({"__metadata__":{"x":1}})", 0, "__metadata__");
  EXPECT_NE(refusal(std::string("\xff\xff\xff\xff\xff\xff\xff\x7f") + "{}"), "");
}

TEST(Safetensors, WriterAndReaderAgree) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "f.safetensors";
  const std::vector<float> a{1, 2, 3};
  {
    SafetensorsWriter writer(path, {{"a", DType::f32, {3}}, {"é \"x\"", DType::u8, {1}}});
    writer.add("a", std::as_bytes(std::span(a)));
    EXPECT_THROW(writer.add("b", {}), Error);
    writer.add("é \"x\"", std::as_bytes(std::span("z", 1)));
    writer.finish();
  }
  const SafetensorsFile file(path);
  EXPECT_EQ(std::memcmp(file.find("a")->bytes.data(), a.data(), 12), 0);
  EXPECT_NE(file.find("é \"x\""), nullptr);
  EXPECT_EQ(file.find("b"), nullptr);
  // Data begin at a multiple of eight.
  EXPECT_EQ((file.find("a")->bytes.data() - file.file().bytes().data()) % 8, 0);
  EXPECT_THROW(SafetensorsFile(folder.path() / "none"), Error);
}

TEST(ShardWriter, CutsBySizeAndWritesTheIndexLast) {
  const test::ScratchFolder folder;
  std::vector<TensorPlan> plan;
  for (int i = 0; i < 5; ++i) plan.push_back({"t" + std::to_string(i), DType::u8, {100}});
  ShardWriter writer(folder.path(), plan, 250);
  const std::string data(100, 'q');
  for (int i = 0; i < 5; ++i) writer.add("t" + std::to_string(i), std::as_bytes(std::span(data)));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "model.safetensors.index.json"));
  writer.finish();
  const json::value index = read_json(folder.path() / "model.safetensors.index.json");
  EXPECT_EQ(index.at("metadata").at("total_size").to_number<int>(), 500);
  EXPECT_EQ(index.at("weight_map").at("t4").as_string(), "model-00003-of-00003.safetensors");
  EXPECT_EQ(SafetensorsFile(folder.path() / "model-00001-of-00003.safetensors").tensors().size(),
            2u);
}

}  // namespace
}  // namespace octet::checkpoint
