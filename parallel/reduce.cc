// SPDX-License-Identifier: Apache-2.0
// Works through blocks small enough for the first-level cache, so that the accumulator stays there
// whatever the rank count, and the innermost loops vectorise.
#include "parallel/reduce.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace tamis {
namespace {

constexpr int64_t kBlock = 1024;
using Block = std::array<float, kBlock>;

void Combine(float* accumulator, const float* part, int64_t count, ReduceOp op) {
  if (op == ReduceOp::kSum) {
    for (int64_t i = 0; i < count; ++i) accumulator[i] += part[i];
  } else {
    for (int64_t i = 0; i < count; ++i) accumulator[i] = std::max(accumulator[i], part[i]);
  }
}

void ReduceFloat32(float* to, const void* const* parts, int size, int64_t count, ReduceOp op) {
  Block accumulator;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    const size_t bytes = static_cast<size_t>(length) * sizeof(float);
    std::memcpy(accumulator.data(), static_cast<const float*>(parts[0]) + begin, bytes);
    for (int r = 1; r < size; ++r) {
      Combine(accumulator.data(), static_cast<const float*>(parts[r]) + begin, length, op);
    }
    std::memcpy(to + begin, accumulator.data(), bytes);
  }
}

}  // namespace

void CheckReducible(const TensorView& x) {
  CHECK(x.device == DeviceKind::kCpu) << "host collectives take host tensors";
  CHECK(x.contiguous()) << "all-reduce of a strided tensor " << x.shape.ToString();
  CHECK(x.dtype == DType::kF32) << "all-reduce of " << DTypeName(x.dtype);
}

void CheckGatherable(const TensorView& out, const ConstTensorView& x, int size) {
  CHECK(out.device == DeviceKind::kCpu && x.device == DeviceKind::kCpu)
      << "host collectives take host tensors";
  CHECK(out.contiguous() && x.contiguous()) << "all-gather of a strided tensor";
  CHECK(out.dtype == x.dtype) << DTypeName(out.dtype) << " gathered from " << DTypeName(x.dtype);
  CHECK_EQ(out.elements(), x.elements() * size)
      << "all-gather of " << x.shape.ToString() << " into " << out.shape.ToString();
}

void ReduceInRankOrder(void* to, const void* const* parts, int size, int64_t count, DType dtype,
                       ReduceOp op) {
  CHECK(dtype == DType::kF32) << "all-reduce of " << DTypeName(dtype);
  ReduceFloat32(static_cast<float*>(to), parts, size, count, op);
}

}  // namespace tamis
