#include "model/rope.h"

#include <algorithm>
#include <cmath>

#include "support/golden_tensors.h"
#include "support/support.h"

namespace octet::model {
namespace {

checkpoint::TextConfig real_config() {
  checkpoint::TextConfig c;
  c.rope_parameters.rope_theta = 1e7;
  return c;
}

TEST(Rope, EqualsTheReferenceUpToTheLastPosition) {
  const test::GoldenTensors golden(test::golden("shape27b.safetensors"));
  const Rope rope(real_config());
  EXPECT_EQ(rope.inv_freq(), golden.floats("rope.inv_freq"));  // every bit
  const auto positions = golden.ints("rope.positions");
  std::vector<float> out(16 * 64), cos, sin;
  rope.cos_sin(positions, 16, out.data());
  for (int r = 0; r < 16; ++r) {
    cos.insert(cos.end(), out.begin() + r * 64, out.begin() + r * 64 + 32);
    sin.insert(sin.end(), out.begin() + r * 64 + 32, out.begin() + r * 64 + 64);
  }
  EXPECT_LT(test::max_difference(cos, golden.floats("rope.cos")), 2e-7);
  EXPECT_LT(test::max_difference(sin, golden.floats("rope.sin")), 2e-7);
}

TEST(Rope, AxesInterleave) {
  const Rope rope(real_config());
  int count[3] = {};
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(rope.axes()[i], static_cast<int>(i % 3)) << i;
    ++count[rope.axes()[i]];
  }
  EXPECT_EQ(count[0], 11);
  EXPECT_EQ(count[1], 11);
  EXPECT_EQ(count[2], 10);
}

// docs/model.md §3.5.1: frequencies below 14 stay, above 22 are divided by the factor.
TEST(Rope, Yarn) {
  auto config = real_config();
  config.rope_parameters.rope_type = "yarn";
  config.rope_parameters.factor = 4;
  const Rope plain(real_config()), yarn(config);
  for (std::size_t i = 0; i < 32; ++i) {
    const double ratio = yarn.inv_freq()[i] / plain.inv_freq()[i];
    const double ramp = std::clamp((static_cast<double>(i) - 14) / 8, 0.0, 1.0);
    EXPECT_NEAR(ratio, ramp / 4 + 1 - ramp, 1e-6) << i;
  }
  const std::int32_t zero[3] = {};
  float out[64];
  yarn.cos_sin(zero, 1, out);
  EXPECT_NEAR(out[0], 1.138629, 1e-6);
  config.rope_parameters.factor = 2;
  Rope(config).cos_sin(zero, 1, out);
  EXPECT_NEAR(out[0], 1.069315, 1e-6);
}

// The published sizes: the boundaries and values that §3.5.1 names, by its formula in double.
TEST(Rope, YarnByTheFormula) {
  for (const double factor : {2.0, 4.0, 8.0})
    for (const double length : {262144.0, 32768.0}) {
      auto config = real_config();
      config.rope_parameters.rope_type = "yarn";
      config.rope_parameters.factor = factor;
      config.rope_parameters.original_max_position_embeddings = static_cast<std::int64_t>(length);
      const Rope rope(config);
      const double pi = 3.14159265358979323846, theta = 1e7;
      const auto turns = [&](double n) {
        return 64 * std::log(length / (2 * pi * n)) / (2 * std::log(theta));
      };
      const double low = std::floor(turns(32)), high = std::ceil(turns(1));
      if (length == 262144.0) {
        EXPECT_EQ(low, 14);
        EXPECT_EQ(high, 22);
      }
      const double m = 0.1 * std::log(factor) + 1;
      const std::int32_t positions[3] = {1, 1, 1};
      float out[64];
      rope.cos_sin(positions, 1, out);
      for (std::size_t i = 0; i < 32; ++i) {
        const double base = std::pow(theta, -static_cast<double>(i) / 32);
        const double ramp =
            std::min(1.0, std::max(0.0, (static_cast<double>(i) - low) / (high - low)));
        const double f = base / factor * ramp + base * (1 - ramp);
        EXPECT_NEAR(rope.inv_freq()[i] / f, 1, 1e-6) << i;
        EXPECT_NEAR(out[i], m * std::cos(f), 1e-6) << i;
        EXPECT_NEAR(out[32 + i], m * std::sin(f), 1e-6) << i;
      }
    }
  auto config = real_config();
  config.rope_parameters.rope_type = "yarn";
  config.rope_parameters.factor = 4;
  config.rope_parameters.attention_factor = 1;  // said, not derived
  float out[64];
  const std::int32_t zero[3] = {};
  Rope(config).cos_sin(zero, 1, out);
  EXPECT_EQ(out[0], 1.0f);
}

}  // namespace
}  // namespace octet::model
