// SPDX-License-Identifier: Apache-2.0
// What is known of a row from the stats of its chunks.
#pragma once

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {

// The maximum and the total weight of a row of chunks, by one warp, for every lane.
__device__ inline float2 RowStats(const float2* stats, int chunks) {
  const int lane = threadIdx.x % kWarpThreads;
  const float2 first = lane < chunks ? stats[lane] : make_float2(-INFINITY, 0.0f);
  float max = first.x;
  for (int c = lane + kWarpThreads; c < chunks; c += kWarpThreads) {
    max = fmaxf(max, stats[c].x);
  }
  max = WarpReduce(max, MaxOp{});
  float weight = lane < chunks ? exp2f(first.x - max) * first.y : 0.0f;
  for (int c = lane + kWarpThreads; c < chunks; c += kWarpThreads) {
    const float2 stat = stats[c];
    weight += exp2f(stat.x - max) * stat.y;
  }
  return make_float2(max, WarpReduce(weight, SumOp{}));
}

__device__ __forceinline__ float NaturalLse(float2 stats) {
  return (stats.x + log2f(stats.y)) / kLog2E;
}

}  // namespace tamis::cuda
