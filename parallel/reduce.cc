// SPDX-License-Identifier: Apache-2.0
// Works through blocks small enough for the first-level cache, so that the accumulator stays there
// whatever the rank count, and the innermost loops vectorise.
#include "parallel/reduce.h"

#include <algorithm>
#include <array>

#include "kernels/cpu/convert.h"

namespace tamis {
namespace {

constexpr int64_t kBlock = 1024;
using Block = std::array<float, kBlock>;

void Combine(float* accumulator, const float* part, int64_t count, ReduceOp op) {
  if (op == ReduceOp::kSum) {
    for (int64_t i = 0; i < count; ++i) accumulator[i] += part[i];
  } else {
    // A number beats NaN whichever rank has it, as in the order of selection; NaN alone stays.
    for (int64_t i = 0; i < count; ++i) {
      const bool replaces = part[i] > accumulator[i] || accumulator[i] != accumulator[i];
      accumulator[i] = replaces ? part[i] : accumulator[i];
    }
  }
}

template <typename T>
void Load(float* to, const T* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = cpu::ToFloat(from[i]);
}

template <typename T>
void Store(T* to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = cpu::FromFloat<T>(from[i]);
}

template <typename T>
void Reduce(T* to, const void* const* parts, int size, int64_t count, ReduceOp op) {
  Block accumulator;
  Block part;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    Load(accumulator.data(), static_cast<const T*>(parts[0]) + begin, length);
    for (int r = 1; r < size; ++r) {
      Load(part.data(), static_cast<const T*>(parts[r]) + begin, length);
      Combine(accumulator.data(), part.data(), length, op);
    }
    Store(to + begin, accumulator.data(), length);
  }
}

const char* WhoTakes(DeviceKind device) {
  return device == DeviceKind::kCpu ? "host collectives take host tensors"
                                    : "CUDA collectives take CUDA tensors";
}

}  // namespace

void CheckReducible(const TensorView& x, DeviceKind device) {
  CHECK(x.device == device) << WhoTakes(device);
  CHECK(x.contiguous()) << "all-reduce of a strided tensor " << x.shape.ToString();
  CHECK(x.dtype == DType::kF32 || x.dtype == DType::kF16 || x.dtype == DType::kBF16)
      << "all-reduce of " << DTypeName(x.dtype);
}

void CheckGatherable(const TensorView& out, const ConstTensorView& x, int size, DeviceKind device) {
  CHECK(out.device == device && x.device == device) << WhoTakes(device);
  CHECK(out.contiguous() && x.contiguous()) << "all-gather of a strided tensor";
  CHECK(out.dtype == x.dtype) << DTypeName(out.dtype) << " gathered from " << DTypeName(x.dtype);
  CHECK_EQ(out.elements(), x.elements() * size)
      << "all-gather of " << x.shape.ToString() << " into " << out.shape.ToString();
}

void ReduceInRankOrder(void* to, const void* const* parts, int size, int64_t count, DType dtype,
                       ReduceOp op) {
  cpu::ForFloatType(dtype, [&](auto zero) {
    using T = decltype(zero);
    Reduce(static_cast<T*>(to), parts, size, count, op);
  });
}

}  // namespace tamis
