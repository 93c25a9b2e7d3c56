// SPDX-License-Identifier: Apache-2.0
// RmsNorm and AddRmsNorm: one block per row, the row held in registers between the two passes.
// Bytes: RmsNorm 2 x T x H, AddRmsNorm 4 x T x H elements, and the weight once.
#include "kernels/backends.h"
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace tamis::cuda {
namespace {

constexpr int kThreadsMax = 1024;

// Each thread holds kVecs vectors of kWidth elements. kAdd: residual += x first, and the norm is
// taken of the rounded sum.
template <typename T, int kWidth, int kVecs, bool kAdd>
__global__ void __launch_bounds__(kThreadsMax) RmsNormKernel(T* out,       // [T, H], may alias x
                                                             T* residual,  // [T, H]
                                                             const T* x,   // [T, H]
                                                             const T* weight,  // [H]
                                                             float eps, int hidden) {
  __shared__ float warp_sums[kThreadsMax / kWarpThreads];
  Vec<T, kWidth> scale[kVecs];
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    const int column = (i * blockDim.x + threadIdx.x) * kWidth;
    if (column < hidden) scale[i] = LoadVec<T, kWidth>(weight + column);
  }
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t row = int64_t{blockIdx.x} * hidden;
  float value[kVecs][kWidth];
  float square_sum = 0;
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    const int column = (i * blockDim.x + threadIdx.x) * kWidth;
    if (column >= hidden) continue;
    const Vec<T, kWidth> in = LoadVec<T, kWidth>(x + row + column);
    Vec<T, kWidth> sum;
    if constexpr (kAdd) sum = LoadVec<T, kWidth>(residual + row + column);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if constexpr (kAdd) {
        sum.v[j] = FromFloat<T>(ToFloat(sum.v[j]) + ToFloat(in.v[j]));
        value[i][j] = ToFloat(sum.v[j]);
      } else {
        value[i][j] = ToFloat(in.v[j]);
      }
      square_sum += value[i][j] * value[i][j];
    }
    if constexpr (kAdd) StoreVec(residual + row + column, sum);
  }
  square_sum = BlockReduce(square_sum, SumOp{}, warp_sums);
  const float inverse = 1.0f / sqrtf(square_sum / static_cast<float>(hidden) + eps);
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    const int column = (i * blockDim.x + threadIdx.x) * kWidth;
    if (column >= hidden) continue;
    Vec<T, kWidth> result;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      result.v[j] = FromFloat<T>(value[i][j] * inverse * ToFloat(scale[i].v[j]));
    }
    StoreVec(out + row + column, result);
  }
}

struct Arguments {
  TensorView out;
  TensorView residual;  // kAdd only
  ConstTensorView x;
  ConstTensorView weight;
  float eps;
};

template <typename T, int kWidth, int kVecs, bool kAdd>
void LaunchNorm(const Arguments& a, const Stream& stream) {
  const int64_t hidden = a.x.shape[1];
  const int64_t threads = CeilDiv(CeilDiv(hidden, kWidth * kVecs), kWarpThreads) * kWarpThreads;
  CHECK_LE(threads, kThreadsMax) << "RmsNorm over " << hidden << " elements";
  Launch(RmsNormKernel<T, kWidth, kVecs, kAdd>,
         Grid(static_cast<unsigned>(a.x.shape[0]), static_cast<unsigned>(threads)), stream,
         static_cast<T*>(a.out.data), static_cast<T*>(a.residual.data),
         static_cast<const T*>(a.x.data), static_cast<const T*>(a.weight.data), a.eps, hidden);
}

template <bool kAdd>
void Norm(const Arguments& a, const Stream& stream) {
  if (a.out.empty()) return;
  const int64_t hidden = a.x.shape[1];
  DispatchFloat(a.x.dtype, [&](auto tag) {
    using T = decltype(tag);
    constexpr int kWide = kVecWidth<T>;
    const bool wide = hidden % kWide == 0 && Aligned16(a.out.data) && Aligned16(a.x.data) &&
                      Aligned16(a.weight.data) && Aligned16(a.residual.data);
    if (!wide) {
      hidden <= kThreadsMax ? LaunchNorm<T, 1, 1, kAdd>(a, stream)
                            : LaunchNorm<T, 1, 16, kAdd>(a, stream);
    } else if (hidden <= kThreadsMax * kWide) {
      LaunchNorm<T, kWide, 1, kAdd>(a, stream);
    } else {
      LaunchNorm<T, kWide, 4, kAdd>(a, stream);
    }
  });
}

}  // namespace

void RmsNorm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps,
             const Stream& stream) {
  Norm<false>({out, {}, x, weight, eps}, stream);
}

void AddRmsNorm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                float eps, const Stream& stream) {
  Norm<true>({out, residual, x, weight, eps}, stream);
}

}  // namespace tamis::cuda
