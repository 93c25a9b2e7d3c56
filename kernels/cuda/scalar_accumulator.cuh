// SPDX-License-Identifier: Apache-2.0
// Online softmax of one query by one warp, for any storage type and head size: lanes hold tokens
// while logits are formed, and elements of the head while values are summed. Correct, not fast.
#pragma once

#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {

struct ScalarAccumulator {
  static constexpr int kHeadDimMax = 256;
  static constexpr int kPerLane = kHeadDimMax / kWarpThreads;
  float sums[kPerLane] = {};
  float max = -INFINITY;  // in units of log2
  float weight = 0;

  // Adds `count` tokens, 1 to 32; this lane's token starts at element `offset` of keys and values.
  // Returns its logit. Whole warps only.
  template <typename T>
  __device__ float Add(const T* q, const T* keys, const T* values, int64_t offset, int count,
                       int head_dim, float scale) {
    const int lane = threadIdx.x % kWarpThreads;
    float logit = -INFINITY;
    if (lane < count) {
      float dot = 0;
      for (int d = 0; d < head_dim; ++d) dot += ToFloat(q[d]) * ToFloat(keys[offset + d]);
      logit = dot * scale;
    }
    const float exponent = logit * kLog2E;
    const float new_max = fmaxf(max, WarpReduce(exponent, MaxOp{}));
    const float factor = exp2f(max - new_max);
    const float own = exp2f(exponent - new_max);
    max = new_max;
    weight = weight * factor + WarpReduce(own, SumOp{});
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) sums[j] *= factor;
    for (int token = 0; token < count; ++token) {
      const float w = __shfl_sync(kFullMask, own, token);
      const T* value = values + __shfl_sync(kFullMask, offset, token);
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        const int d = j * kWarpThreads + lane;
        if (d < head_dim) sums[j] += w * ToFloat(value[d]);
      }
    }
    return logit;
  }

  // Runs use(d, sum) for this lane's elements of the head.
  template <typename Use>
  __device__ void ForEach(int head_dim, Use use) const {
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int d = j * kWarpThreads + static_cast<int>(threadIdx.x) % kWarpThreads;
      if (d < head_dim) use(d, sums[j]);
    }
  }
};

}  // namespace tamis::cuda
