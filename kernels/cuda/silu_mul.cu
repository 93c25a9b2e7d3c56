// SPDX-License-Identifier: Apache-2.0
// SiluMul: out = silu(gate) * up over the halves of the fused product. Bytes: 3 x T x F elements.
#include "kernels/backends.h"
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/silu.cuh"

namespace tamis::cuda {
namespace {

constexpr unsigned kThreads = 256;

template <typename T, int kWidth>
__global__ void SiluMulKernel(T* out,            // [T, F_local]
                              const T* gate_up,  // [T, 2 * F_local]
                              int64_t width) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t column = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kWidth;
  const int64_t row = blockIdx.y;
  if (column >= width) return;
  const Vec<T, kWidth> gate = LoadVec<T, kWidth>(gate_up + row * 2 * width + column);
  const Vec<T, kWidth> up = LoadVec<T, kWidth>(gate_up + (row * 2 + 1) * width + column);
  Vec<T, kWidth> result;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) result.v[j] = SiluTimes(gate.v[j], up.v[j]);
  StoreVec(out + row * width + column, result);
}

template <typename T, int kWidth>
void LaunchSilu(const TensorView& out, const ConstTensorView& gate_up, const Stream& stream) {
  const int64_t width = out.shape[1];
  // Rows sit in grid.y, which ends at 65535.
  constexpr int64_t kRowsMax = 65535;
  for (int64_t row = 0; row < out.shape[0]; row += kRowsMax) {
    const int64_t rows = std::min(kRowsMax, out.shape[0] - row);
    const dim3 blocks(static_cast<unsigned>(CeilDiv(width, kThreads * kWidth)),
                      static_cast<unsigned>(rows));
    Launch(SiluMulKernel<T, kWidth>, Grid(blocks, kThreads), stream,
           static_cast<T*>(out.data) + row * width,
           static_cast<const T*>(gate_up.data) + row * 2 * width, width);
  }
}

}  // namespace

void SiluMul(TensorView out, ConstTensorView gate_up, const Stream& stream) {
  if (out.empty()) return;
  DispatchFloat(out.dtype, [&](auto tag) {
    using T = decltype(tag);
    constexpr int kWide = kVecWidth<T>;
    const bool wide = out.shape[1] % kWide == 0 && Aligned16(out.data) && Aligned16(gate_up.data);
    wide ? LaunchSilu<T, kWide>(out, gate_up, stream) : LaunchSilu<T, 1>(out, gate_up, stream);
  });
}

}  // namespace tamis::cuda
