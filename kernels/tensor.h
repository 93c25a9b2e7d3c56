// SPDX-License-Identifier: Apache-2.0
// Tensor views: dtype, shape, device and a pointer. Views never own; Buffer (device.h) does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/check.h"

namespace tamis {

enum class DType : uint8_t { kF32, kF16, kBF16, kI32, kI64, kU64 };
enum class DeviceKind : uint8_t { kCpu, kCuda };

constexpr size_t DTypeBytes(DType dtype) {
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16: return 2;
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kI64:
    case DType::kU64: return 8;
  }
  return 0;
}
const char* DTypeName(DType dtype);  // "float32", "bfloat16", ...

constexpr int kTensorRankMax = 4;

// Up to four sizes, row-major.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) {
    CHECK_LE(sizes.size(), static_cast<size_t>(kTensorRankMax));
    for (int64_t size : sizes) sizes_[static_cast<size_t>(rank_++)] = size;
  }
  int rank() const { return rank_; }
  int64_t operator[](int i) const {
    CHECK(i >= 0 && i < rank_) << "dimension " << i << " of " << rank_;
    return sizes_[static_cast<size_t>(i)];
  }
  int64_t elements() const {
    int64_t product = 1;
    for (int i = 0; i < rank_; ++i) product *= sizes_[static_cast<size_t>(i)];
    return product;
  }
  bool operator==(const Shape&) const = default;
  std::string ToString() const;  // "[3, 64]"

 private:
  std::array<int64_t, kTensorRankMax> sizes_ = {};
  int rank_ = 0;
};

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<uint64_t> {
  static constexpr DType value = DType::kU64;
};

// A read-only view. Row-major; all dimensions but the first are contiguous, the first has
// `row_stride` elements between its rows (so that the query part of a fused QKV is a view).
struct ConstTensorView {
  const void* data = nullptr;
  Shape shape;
  int64_t row_stride = 0;  // elements
  DType dtype = DType::kF32;
  DeviceKind device = DeviceKind::kCpu;

  ConstTensorView() = default;
  ConstTensorView(const void* data_in, Shape shape_in, DType dtype_in, DeviceKind device_in)
      : data(data_in), shape(shape_in), dtype(dtype_in), device(device_in) {
    row_stride = 1;
    for (int i = 1; i < shape.rank(); ++i) row_stride *= shape[i];
  }

  bool contiguous() const { return shape.rank() <= 1 || row_stride * shape[0] == elements(); }
  int64_t elements() const { return shape.elements(); }
  size_t bytes() const { return static_cast<size_t>(elements()) * DTypeBytes(dtype); }
  bool empty() const { return elements() == 0; }

  // The typed pointer; checks the dtype. F16 and BF16 are read through kernels/cpu/convert.h.
  template <typename T>
  const T* As() const {
    CHECK(dtype == DTypeOf<T>::value) << "view of " << DTypeName(dtype);
    return static_cast<const T*>(data);
  }
};

// A writable view; the same layout rules.
struct TensorView {
  void* data = nullptr;
  Shape shape;
  int64_t row_stride = 0;  // elements
  DType dtype = DType::kF32;
  DeviceKind device = DeviceKind::kCpu;

  TensorView() = default;
  TensorView(void* data_in, Shape shape_in, DType dtype_in, DeviceKind device_in)
      : data(data_in), shape(shape_in), dtype(dtype_in), device(device_in) {
    row_stride = ConstTensorView(data, shape, dtype, device).row_stride;
  }
  operator ConstTensorView() const {  // NOLINT: a view of the same tensor, by intent implicit
    ConstTensorView view(data, shape, dtype, device);
    view.row_stride = row_stride;
    return view;
  }

  bool contiguous() const { return ConstTensorView(*this).contiguous(); }
  int64_t elements() const { return shape.elements(); }
  size_t bytes() const { return static_cast<size_t>(elements()) * DTypeBytes(dtype); }
  bool empty() const { return elements() == 0; }

  template <typename T>
  T* As() const {
    CHECK(dtype == DTypeOf<T>::value) << "view of " << DTypeName(dtype);
    return static_cast<T*>(data);
  }
};

// Rows [begin, begin + count) of x.
TensorView Rows(const TensorView& x, int64_t begin, int64_t count);
ConstTensorView Rows(const ConstTensorView& x, int64_t begin, int64_t count);
// Columns [begin, begin + count) of a 2-D x; keeps x's row stride.
TensorView Columns(const TensorView& x, int64_t begin, int64_t count);
ConstTensorView Columns(const ConstTensorView& x, int64_t begin, int64_t count);
// The same elements under another shape; x must be contiguous.
TensorView Reshape(const TensorView& x, Shape shape);
ConstTensorView Reshape(const ConstTensorView& x, Shape shape);

}  // namespace tamis
