#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace octet::test {

/// Tensors of a golden .safetensors file as vectors.
class GoldenTensors {
 public:
  explicit GoldenTensors(const std::filesystem::path& path) : file_(path) {}
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  const Shape& shape(const std::string& name) const { return info(name).shape; }
  std::vector<float> floats(const std::string& name) const { return read<float>(name, DType::f32); }
  std::vector<std::int32_t> ints(const std::string& name) const {
    return read<std::int32_t>(name, DType::i32);
  }
  template <typename T>
  std::vector<T> read(const std::string& name, DType type) const {
    const auto& t = info(name);
    if (t.dtype != type) throw std::runtime_error(name + " has another dtype");
    std::vector<T> v(t.bytes.size() / sizeof(T));
    std::memcpy(v.data(), t.bytes.data(), t.bytes.size());
    return v;
  }

 private:
  const checkpoint::TensorInfo& info(const std::string& name) const {
    const auto* t = file_.find(name);
    if (!t) throw std::runtime_error("no golden tensor " + name);
    return *t;
  }
  checkpoint::SafetensorsFile file_;
};

/// Largest |a - b|; infinite if sizes differ or a value is not a number.
inline double max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - b[i]);
    worst = std::isnan(d) ? INFINITY : std::max(worst, d);
  }
  return worst;
}

}  // namespace octet::test
