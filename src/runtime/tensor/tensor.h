#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/tensor/dtype.h"

namespace octet {

enum class DeviceKind { cpu, cuda };

/// Where memory lives.
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};
std::string to_string(Device device);  ///< "cpu", "cuda:0"

/// Borrowed memory with a type and a shape: row-major and dense. Passed by value; never outlives
/// the call it is passed to unless the receiver says so. Only a backend of the same device may
/// touch what data() points to.
class TensorView {
 public:
  TensorView() = default;
  TensorView(void* data, DType type, Shape shape, Device device)
      : data_(data), type_(type), shape_(std::move(shape)), device_(device) {}

  void* data() const { return data_; }
  /// The elements as T; the caller knows the type (checked).
  template <typename T>
  T* as() const {
    OCTET_CHECK(sizeof(T) == dtype_bytes(type_), "tensor of {} read as {} bytes an element",
                to_string(type_), sizeof(T));
    return static_cast<T*>(data_);
  }
  DType dtype() const { return type_; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(std::size_t i) const { return shape_[i]; }
  Device device() const { return device_; }
  std::int64_t size() const { return num_elements(shape_); }
  std::size_t bytes() const { return static_cast<std::size_t>(size()) * dtype_bytes(type_); }
  bool empty() const { return data_ == nullptr; }

  /// Rows [begin, begin + count) of the first dimension.
  TensorView rows(std::int64_t begin, std::int64_t count) const;
  /// The same elements in another shape of the same size.
  TensorView reshaped(Shape shape) const;

 private:
  void* data_ = nullptr;
  DType type_ = DType::f32;
  Shape shape_;
  Device device_;
};

/// Frees a device's memory; a backend makes one with each tensor.
using DeviceDeleter = void (*)(void* data, std::size_t bytes);

/// Owns memory of a device; move only.
class Tensor {
 public:
  Tensor() = default;
  Tensor(void* data, DType type, Shape shape, Device device, DeviceDeleter deleter)
      : view_(data, type, std::move(shape), device), deleter_(deleter) {}
  ~Tensor() { reset(); }
  Tensor(Tensor&& other) noexcept { *this = std::move(other); }
  Tensor& operator=(Tensor&& other) noexcept {
    std::swap(view_, other.view_);
    std::swap(deleter_, other.deleter_);
    return *this;
  }

  const TensorView& view() const { return view_; }
  operator TensorView() const { return view_; }  // NOLINT: a tensor is usable as its view
  bool empty() const { return view_.empty(); }
  void reset();

 private:
  TensorView view_;
  DeviceDeleter deleter_ = nullptr;
};

/// A tensor in host memory, 64-byte aligned, zeroed. Errors: out_of_memory.
Tensor make_host_tensor(DType type, Shape shape);

}  // namespace octet
