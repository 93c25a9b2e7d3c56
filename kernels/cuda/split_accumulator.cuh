// SPDX-License-Identifier: Apache-2.0
// The arithmetic of split_attention.cu: one warp, one unit of query heads, tiles of 16 tokens in
// shared memory.
#pragma once

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/split_loader.cuh"

namespace tamis::cuda {

// Online softmax of one unit over one warp's tiles. Rows of the products are query heads; with
// kHalves 1 only the first eight exist, and the upper half of every fragment stays zero.
template <typename T, int D, int kHalves>
struct Accumulator {
  static constexpr int kDepthSteps = D / 16;
  uint32_t q[kDepthSteps][4];
  float sums[2 * kDepthSteps][4];
  float max[kHalves];
  float weight[kHalves];  // this lane's part

  __device__ void Reset(const T* q_rows, int heads) {
    const int g = threadIdx.x % kWarpThreads / 4;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int step = 0; step < kDepthSteps; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int head = g + (i % 2) * 8;
        const int column = step * 16 + 2 * t + (i / 2) * 8;
        const bool exists = i % 2 < kHalves && head < heads;
        // Only 4-byte loads: the query may start at any even element.
        q[step][i] = exists ? *reinterpret_cast<const uint32_t*>(q_rows + head * D + column) : 0;
      }
    }
#pragma unroll
    for (int i = 0; i < 2 * kDepthSteps; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[i][j] = 0;
    }
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      max[h] = -INFINITY;
      weight[h] = 0;
    }
  }

  // logits[j][i]: heads g (i < 2) and g + 8, tokens 8j + 2t + i % 2.
  __device__ void Logits(float (&logits)[2][4], uint32_t keys) const {
    const int matrix = threadIdx.x % kWarpThreads / 8;
    const int row = threadIdx.x % 8;
#pragma unroll
    for (int i = 0; i < 4; ++i) logits[0][i] = logits[1][i] = 0;
#pragma unroll
    for (int step = 0; step < kDepthSteps; ++step) {
      uint32_t b[4];
      LoadMatrices(b, keys + TileLayout<D>::Offset(matrix / 2 * 8 + row, 2 * step + matrix % 2));
      Mma(logits[0], q[step], b[0], b[1], T{});
      Mma(logits[1], q[step], b[2], b[3], T{});
    }
  }

  // Takes a tile's logits into maximum and weight, `tokens` of them exist, and turns them into
  // weights of values: a fragment A. `to_log2` turns a logit into its softmax exponent.
  __device__ void Weigh(uint32_t (&p)[4], float (&logits)[2][4], int tokens, float to_log2) {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      float tile_max = -INFINITY;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& x = logits[i / 2][2 * h + i % 2];
        x *= to_log2;
        if (tokens < kSplitTileTokens && i / 2 * 8 + 2 * t + i % 2 >= tokens) x = -INFINITY;
        tile_max = fmaxf(tile_max, x);
      }
      tile_max = fmaxf(tile_max, __shfl_xor_sync(kFullMask, tile_max, 1));
      tile_max = fmaxf(tile_max, __shfl_xor_sync(kFullMask, tile_max, 2));
      if (__any_sync(kFullMask, tile_max > max[h])) Rescale(h, fmaxf(max[h], tile_max));
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float low = Exp2(logits[j][2 * h] - max[h]);
        const float high = Exp2(logits[j][2 * h + 1] - max[h]);
        p[2 * j + h] = Pack(low, high, T{});
        weight[h] += low + high;  // not as rounded: lse is exact to float32
      }
    }
  }

  // Adds a tile.
  __device__ void Add(float (&logits)[2][4], uint32_t values, int tokens, float to_log2) {
    uint32_t p[4] = {0, 0, 0, 0};
    Weigh(p, logits, tokens, to_log2);
    const int matrix = threadIdx.x % kWarpThreads / 8;
    const int row = threadIdx.x % 8;
#pragma unroll
    for (int step = 0; step < kDepthSteps; ++step) {
      uint32_t b[4];
      LoadMatricesTransposed(
          b, values + TileLayout<D>::Offset(matrix % 2 * 8 + row, 2 * step + matrix / 2));
      Mma(sums[2 * step], p, b[0], b[1], T{});
      Mma(sums[2 * step + 1], p, b[2], b[3], T{});
    }
  }

  __device__ void Rescale(int h, float new_max) {
    const float factor = Exp2(max[h] - new_max);
    max[h] = new_max;
    weight[h] *= factor;
#pragma unroll
    for (int i = 0; i < 2 * kDepthSteps; ++i) {
      sums[i][2 * h] *= factor;
      sums[i][2 * h + 1] *= factor;
    }
  }

  // This warp's part of the merge space: sums [heads, D], then (max, weight) [heads].
  __device__ void Store(float* space, int heads) {
    const int g = threadIdx.x % kWarpThreads / 4;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      const int head = g + 8 * h;
      float total = weight[h];
      total += __shfl_xor_sync(kFullMask, total, 1);
      total += __shfl_xor_sync(kFullMask, total, 2);
      if (head >= heads) continue;
#pragma unroll
      for (int i = 0; i < 2 * kDepthSteps; ++i) {
        *reinterpret_cast<float2*>(space + head * D + i * 8 + 2 * t) =
            make_float2(sums[i][2 * h], sums[i][2 * h + 1]);
      }
      if (t == 0) {
        *reinterpret_cast<float2*>(space + heads * D + 2 * head) = make_float2(max[h], total);
      }
    }
  }
};

}  // namespace tamis::cuda
