// SPDX-License-Identifier: Apache-2.0
// Reductions over a warp and over a block, in a fixed order, so that equal inputs give equal bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tamis::cuda {

constexpr unsigned kFullMask = 0xFFFFFFFFu;
constexpr int kWarpThreads = 32;

struct SumOp {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct MaxOp {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

// Every lane gets the result.
template <typename T, typename Op>
__device__ __forceinline__ T WarpReduce(T value, Op op) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value = op(value, __shfl_xor_sync(kFullMask, value, offset));
  }
  return value;
}

// Every thread gets the result. `space` holds one T per warp. Whole warps only.
template <typename T, typename Op>
__device__ __forceinline__ T BlockReduce(T value, Op op, T* space) {
  const int warp = threadIdx.x / kWarpThreads;
  const int warps = blockDim.x / kWarpThreads;
  value = WarpReduce(value, op);
  __syncthreads();  // an earlier use of `space` is over
  if (threadIdx.x % kWarpThreads == 0) space[warp] = value;
  __syncthreads();
  T result = space[0];
  for (int i = 1; i < warps; ++i) result = op(result, space[i]);
  return result;
}

// The sum of `value` over all lower threads; *total gets the sum over all. `space` holds one T per
// warp. Whole warps only.
template <typename T>
__device__ __forceinline__ T BlockExclusiveSum(T value, T* total, T* space) {
  const int lane = threadIdx.x % kWarpThreads;
  const int warp = threadIdx.x / kWarpThreads;
  const int warps = blockDim.x / kWarpThreads;
  T inclusive = value;
#pragma unroll
  for (int offset = 1; offset < kWarpThreads; offset *= 2) {
    const T below = __shfl_up_sync(kFullMask, inclusive, offset);
    if (lane >= offset) inclusive += below;
  }
  __syncthreads();
  if (lane == kWarpThreads - 1) space[warp] = inclusive;
  __syncthreads();
  // Every warp scans the warps' sums for itself: that is one load and five steps.
  T sums = lane < warps ? space[lane] : T{0};
#pragma unroll
  for (int offset = 1; offset < kWarpThreads; offset *= 2) {
    const T below = __shfl_up_sync(kFullMask, sums, offset);
    if (lane >= offset) sums += below;
  }
  *total = __shfl_sync(kFullMask, sums, kWarpThreads - 1);
  const T before = __shfl_sync(kFullMask, sums, max(0, warp - 1));
  return (warp > 0 ? before : T{0}) + inclusive - value;
}

}  // namespace tamis::cuda
