// SPDX-License-Identifier: Apache-2.0
// Owning tensors for tests. New ones are poisoned (NaN, or an absurd integer), so that an element
// an op forgets to write cannot pass for a result.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/convert.h"
#include "kernels/device.h"
#include "kernels/scratch.h"

namespace tamis::testing {

constexpr int32_t kPoisonInt = -123456789;

class TestTensor {
 public:
  TestTensor(Shape shape, DType dtype)
      : shape_(shape),
        dtype_(dtype),
        buffer_(MemoryKind::kCpu, static_cast<size_t>(shape.elements()) * DTypeBytes(dtype),
                "test tensor") {
    Fill(std::numeric_limits<float>::quiet_NaN());
  }
  static TestTensor Floats(Shape shape, DType dtype, const std::vector<float>& values) {
    TestTensor tensor(shape, dtype);
    CHECK_EQ(values.size(), static_cast<size_t>(shape.elements()));
    for (size_t i = 0; i < values.size(); ++i) tensor.Set(static_cast<int64_t>(i), values[i]);
    return tensor;
  }
  // Standard normal values times `scale`, rounded to the dtype.
  static TestTensor Random(Shape shape, DType dtype, std::mt19937& random, float scale = 1.0f) {
    TestTensor tensor(shape, dtype);
    std::normal_distribution<float> normal(0.0f, scale);
    for (int64_t i = 0; i < shape.elements(); ++i) tensor.Set(i, normal(random));
    return tensor;
  }
  static TestTensor Ints(Shape shape, const std::vector<int32_t>& values) {
    TestTensor tensor(shape, DType::kI32);
    CHECK_EQ(values.size(), static_cast<size_t>(shape.elements()));
    for (size_t i = 0; i < values.size(); ++i) tensor.SetInt(static_cast<int64_t>(i), values[i]);
    return tensor;
  }
  static TestTensor Ints(const std::vector<int32_t>& values) {
    return Ints({static_cast<int64_t>(values.size())}, values);
  }

  TensorView view() const { return buffer_.View(shape_, dtype_); }
  operator TensorView() const { return view(); }       // NOLINT: reads as the op's argument
  operator ConstTensorView() const { return view(); }  // NOLINT

  int64_t size() const { return shape_.elements(); }
  float At(int64_t i) const {
    switch (dtype_) {
      case DType::kF32: return static_cast<const float*>(buffer_.data())[i];
      case DType::kF16: return cpu::ToFloat(static_cast<const cpu::F16*>(buffer_.data())[i]);
      case DType::kBF16: return cpu::ToFloat(static_cast<const cpu::BF16*>(buffer_.data())[i]);
      default: Die("not a float tensor");
    }
  }
  void Set(int64_t i, float x) {
    switch (dtype_) {
      case DType::kF32: static_cast<float*>(buffer_.data())[i] = x; return;
      case DType::kF16:
        static_cast<cpu::F16*>(buffer_.data())[i] = cpu::FromFloat<cpu::F16>(x);
        return;
      case DType::kBF16:
        static_cast<cpu::BF16*>(buffer_.data())[i] = cpu::FromFloat<cpu::BF16>(x);
        return;
      default: Die("not a float tensor");
    }
  }
  int32_t Int(int64_t i) const { return view().As<int32_t>()[i]; }
  void SetInt(int64_t i, int32_t x) { view().As<int32_t>()[i] = x; }
  std::vector<float> ToVector() const {
    std::vector<float> values;
    for (int64_t i = 0; i < size(); ++i) values.push_back(At(i));
    return values;
  }
  std::vector<int32_t> ToInts() const {
    const int32_t* begin = view().As<int32_t>();
    return {begin, begin + size()};
  }
  void Fill(float x) {
    for (int64_t i = 0; i < size(); ++i) {
      if (dtype_ == DType::kI32) {
        SetInt(i, kPoisonInt);
      } else if (dtype_ == DType::kU64) {
        view().As<uint64_t>()[i] = 0;
      } else {
        Set(i, x);
      }
    }
  }

 private:
  Shape shape_;
  DType dtype_;
  Buffer buffer_;
};

inline Scratch TestScratch(size_t bytes = size_t{8} << 20) {
  return Scratch(Buffer(MemoryKind::kCpu, bytes, "test scratch"));
}

// How far a float32-accumulated result of `dtype` may lie from the exact value: half a unit of the
// output's last place, and `f32_error` for the float32 arithmetic before it.
inline double Tolerance(DType dtype, double exact, double f32_error = 1e-5) {
  const double unit = dtype == DType::kBF16 ? 0x1p-8 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-24;
  return unit * std::abs(exact) + (dtype == DType::kF16 ? 0x1p-25 : 0.0) + f32_error;
}

constexpr DType kFloatTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

}  // namespace tamis::testing
