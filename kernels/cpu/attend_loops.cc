// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attend_loops.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/math.h"
#include "kernels/cpu/simd.h"

namespace tamis::cpu {
namespace {

constexpr int64_t kKeysInL1 = 64;

// R rows against one tile of keys: each key vector is loaded once for all of them.
template <int R>
TAMIS_SIMD_INLINE void DotTile(float* logits, const float* q, const float* keys, int64_t head_dim,
                               int64_t logit_stride, float scale) {
  float sum[R][kTile] = {};
  for (int64_t d = 0; d < head_dim; ++d) {
    for (int r = 0; r < R; ++r) {
      const float x = q[r * head_dim + d];
      for (int64_t l = 0; l < kTile; ++l) sum[r][l] += x * keys[d * kTile + l];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int64_t l = 0; l < kTile; ++l) logits[r * logit_stride + l] = sum[r][l] * scale;
  }
}

template <int R>
TAMIS_SIMD_INLINE void AddTile(float* acc, const float* p, const float* values, int64_t n,
                               int64_t padded_dim, int64_t p_stride) {
  float sum[R][kTile];
  for (int r = 0; r < R; ++r) {
    for (int64_t l = 0; l < kTile; ++l) sum[r][l] = acc[r * padded_dim + l];
  }
  for (int64_t j = 0; j < n; ++j) {
    for (int r = 0; r < R; ++r) {
      const float x = p[r * p_stride + j];
      for (int64_t l = 0; l < kTile; ++l) sum[r][l] += x * values[j * padded_dim + l];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int64_t l = 0; l < kTile; ++l) acc[r * padded_dim + l] = sum[r][l];
  }
}

TAMIS_SIMD_INLINE float MaxOf(const float* x, int64_t n) {
  float lane[kTile];
  for (float& m : lane) m = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  for (; i + kTile <= n; i += kTile) {
    for (int64_t l = 0; l < kTile; ++l) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
  }
  for (int64_t l = 0; i + l < n; ++l) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
  float max = lane[0];
  for (float m : lane) max = m > max ? m : max;
  return max;
}

}  // namespace

TAMIS_SIMD_CLONES void DotTiles(float* logits, const float* q, const float* keys, int64_t rows,
                                int64_t tiles, int64_t head_dim, int64_t logit_stride,
                                float scale) {
  for (int64_t t = 0; t < tiles; ++t) {
    const float* tile = keys + t * head_dim * kTile;
    float* to = logits + t * kTile;
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      DotTile<4>(to + r * logit_stride, q + r * head_dim, tile, head_dim, logit_stride, scale);
    }
    for (; r < rows; ++r) {
      DotTile<1>(to + r * logit_stride, q + r * head_dim, tile, head_dim, logit_stride, scale);
    }
  }
}

TAMIS_SIMD_CLONES void AddWeightedValues(float* acc, const float* p, const float* values,
                                         int64_t rows, int64_t n, int64_t padded_dim,
                                         int64_t p_stride) {
  for (int64_t j = 0; j < n; j += kKeysInL1) {
    const int64_t keys = std::min(kKeysInL1, n - j);
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      for (int64_t d = 0; d < padded_dim; d += kTile) {
        AddTile<4>(acc + r * padded_dim + d, p + r * p_stride + j, values + j * padded_dim + d,
                   keys, padded_dim, p_stride);
      }
    }
    for (; r < rows; ++r) {
      for (int64_t d = 0; d < padded_dim; d += kTile) {
        AddTile<1>(acc + r * padded_dim + d, p + r * p_stride + j, values + j * padded_dim + d,
                   keys, padded_dim, p_stride);
      }
    }
  }
}

TAMIS_SIMD_CLONES MaxAndSum ExpRow(float* x, int64_t n) {
  const float max = MaxOf(x, n);
  for (int64_t i = 0; i < n; ++i) x[i] = Exp(x[i] - max);
  float lane[kTile] = {};
  int64_t i = 0;
  for (; i + kTile <= n; i += kTile) {
    for (int64_t l = 0; l < kTile; ++l) lane[l] += x[i + l];
  }
  for (int64_t l = 0; i + l < n; ++l) lane[l] += x[i + l];
  float sum = 0.0f;
  for (float part : lane) sum += part;
  return {max, sum};
}

TAMIS_SIMD_CLONES MaxAndSum ExpSum(const float* x, int64_t n) {
  const float max = MaxOf(x, n);
  float lane[kTile] = {};
  int64_t i = 0;
  for (; i + kTile <= n; i += kTile) {
    for (int64_t l = 0; l < kTile; ++l) lane[l] += Exp(x[i + l] - max);
  }
  for (int64_t l = 0; i + l < n; ++l) lane[l] += Exp(x[i + l] - max);
  float sum = 0.0f;
  for (float part : lane) sum += part;
  return {max, sum};
}

}  // namespace tamis::cpu
