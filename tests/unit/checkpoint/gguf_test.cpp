#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "checkpoint/gguf_format.h"
#include "runtime/base/error.h"
#include "support/support.h"

namespace octet::checkpoint {
namespace {

std::span<const std::byte> bytes_of(const std::string& s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}

class Gguf : public testing::Test {
 protected:
  // A file with a value of every kind and two tensors.
  Gguf() {
    metadata = {{"general.architecture", std::string("test")},
                {"bool", true},
                {"u32", std::uint32_t{7}},
                {"i32", std::int32_t{-7}},
                {"u64", std::uint64_t{1} << 40},
                {"i64", -(std::int64_t{1} << 40)},
                {"f32", 0.5f},
                {"f64", 0.1},
                {"strings", std::vector<std::string>{"a", "", "c d"}},
                {"i32s", std::vector<std::int32_t>{1, -2}},
                {"i64s", std::vector<std::int64_t>{1, -2}},
                {"f32s", std::vector<float>{0.25f}},
                {"f64s", std::vector<double>{0.1, 0.2}},
                {"bools", std::vector<bool>{true, false, true}}};
    const std::vector<GgufTensor> tensors{
        {.name = "vector", .type = GgmlType::f32, .shape = {3}, .bytes = {}},
        {.name = "matrix", .type = GgmlType::q8_0, .shape = {2, 64}, .bytes = {}}};
    GgufWriter writer(path, metadata, tensors);
    writer.add([](const ByteSink& sink) {
      sink(bytes_of("abcd"));
      sink(bytes_of("efghijkl"));
    });
    writer.add([](const ByteSink& sink) { sink(bytes_of(std::string(4 * 34, 'q'))); });
    writer.finish();
    file = read_file(path);
  }

  std::string refusal(const std::string& changed) const {
    GgufMetadata m;
    std::vector<GgufTensor> t;
    try {
      parse_gguf(bytes_of(changed), "x.gguf", m, t);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::bad_data) << e.what();
      return e.what();
    }
    return "";
  }

  test::ScratchFolder folder;
  std::filesystem::path path = folder.path() / "x.gguf";
  GgufMetadata metadata;
  std::string file;
};

TEST_F(Gguf, ReadsBackWhatWasWritten) {
  const GgufFile back(path);
  EXPECT_EQ(back.metadata(), metadata);
  ASSERT_EQ(back.tensors().size(), 2u);
  const GgufTensor* vector = back.find_tensor("vector");
  ASSERT_TRUE(vector);
  EXPECT_EQ(std::memcmp(vector->bytes.data(), "abcdefghijkl", 12), 0);
  const GgufTensor* matrix = back.find_tensor("matrix");
  ASSERT_TRUE(matrix);
  EXPECT_EQ(matrix->shape, (Shape{2, 64}));
  EXPECT_EQ(matrix->bytes.size(), 4u * 34);
  EXPECT_EQ((matrix->bytes.data() - back.file().bytes().data()) % 32, 0);
  EXPECT_EQ(back.find("nothing"), nullptr);
}

// Where the format's own numbers stand, byte by byte: a writer and a reader could agree on a wrong
// format.
TEST_F(Gguf, BytesAreThoseOfTheFormat) {
  EXPECT_EQ(file.substr(0, 4), "GGUF");
  const auto number = [&]<typename T>(std::size_t at, T) {
    T v;
    std::memcpy(&v, file.data() + at, sizeof v);
    return v;
  };
  EXPECT_EQ(number(4, std::uint32_t{}), 3u);
  EXPECT_EQ(number(8, std::uint64_t{}), 2u);
  EXPECT_EQ(number(16, std::uint64_t{}), metadata.size());
  EXPECT_EQ(number(24, std::uint64_t{}), std::strlen("general.architecture"));
  EXPECT_EQ(number(32 + 20, std::uint32_t{}), 8u);  // a string
  const std::size_t bools = file.find("bools") + 5;
  EXPECT_EQ(number(bools, std::uint32_t{}), 9u);
  EXPECT_EQ(number(bools + 4, std::uint32_t{}), 7u);
  EXPECT_EQ(number(bools + 8, std::uint64_t{}), 3u);
  const std::size_t matrix = file.find("matrix") + 6;
  EXPECT_EQ(number(matrix, std::uint32_t{}), 2u);
  EXPECT_EQ(number(matrix + 4, std::uint64_t{}), 64u);  // the fastest dimension first
  EXPECT_EQ(number(matrix + 12, std::uint64_t{}), 2u);
  EXPECT_EQ(number(matrix + 20, std::uint32_t{}), 8u);  // Q8_0
  EXPECT_EQ(number(matrix + 24, std::uint64_t{}), 32u);
}

TEST_F(Gguf, CutAtEveryByteIsRefused) {
  const std::size_t data_end = file.size() - 24;  // the last tensor is padded
  for (std::size_t n = 0; n < data_end; ++n) EXPECT_NE(refusal(file.substr(0, n)), "") << n;
}

TEST_F(Gguf, LiesAreRefused) {
  const auto changed = [&](const char* after, std::size_t offset, std::uint64_t value,
                           std::size_t width) {
    std::string copy = file;
    std::memcpy(copy.data() + copy.find(after) + std::strlen(after) + offset, &value, width);
    return refusal(copy);
  };
  EXPECT_NE(changed("GGUF", 0, 9, 4).find("version 9"), std::string::npos);
  EXPECT_NE(changed("GGUF", 4, ~0ull, 8).find("tensors"), std::string::npos);
  EXPECT_NE(changed("GGUF", 12, ~0ull, 8).find("metadata"), std::string::npos);
  EXPECT_NE(changed("bools", 8, ~0ull, 8).find("elements"), std::string::npos);
  EXPECT_NE(changed("bools", 4, 9, 4).find("list"), std::string::npos);
  EXPECT_NE(changed("bools", 0, 77, 4).find("type 77"), std::string::npos);
  EXPECT_NE(changed("matrix", 0, 9, 4).find("dimensions"), std::string::npos);
  EXPECT_NE(changed("matrix", 4, ~0ull, 8).find("matrix"), std::string::npos);
  EXPECT_NE(changed("matrix", 4, 0, 8).find("matrix"), std::string::npos);
  EXPECT_NE(changed("matrix", 4, 63, 8).find("blocks of 32"), std::string::npos);
  EXPECT_NE(changed("matrix", 20, 99, 4).find("type 99"), std::string::npos);
  EXPECT_NE(changed("matrix", 24, ~0ull, 8).find("outside"), std::string::npos);
  std::string twice = file;
  twice.replace(twice.find("u64"), 3, "u32");
  EXPECT_NE(refusal(twice).find("twice"), std::string::npos);
}

TEST_F(Gguf, ChangedBytesNeverCrash) {
  std::mt19937 rng(7);
  for (int i = 0; i < 20000; ++i) {
    std::string copy = file;
    for (int k = 0; k < 3; ++k) copy[rng() % (copy.size() - 4 * 34)] = static_cast<char>(rng());
    (void)refusal(copy);
  }
}

}  // namespace
}  // namespace octet::checkpoint
