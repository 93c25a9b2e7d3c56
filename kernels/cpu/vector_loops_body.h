// SPDX-License-Identifier: Apache-2.0
// The loops behind vector_loops.h. Included by one file per instruction set, each compiled with its
// own flags: so everything here has internal linkage, and nothing of std is called, lest the linker
// keep an inline function that an older machine cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/vector_loops.h"

#define TAMIS_INLINE inline __attribute__((always_inline))
#define TAMIS_UNROLL _Pragma("GCC unroll 16")

namespace tamis::cpu {
namespace {

constexpr float kLowest = -__builtin_inff();
constexpr int64_t kKeysInL1 = 64;
constexpr int64_t kWeightRowsInL1 = 8;

// 16 lanes as vectors of `kBytes` bytes.
template <int kBytes>
struct Lanes {
  using Vector __attribute__((vector_size(kBytes))) = float;
  static constexpr int kCount = 64 / kBytes;
  Vector part[kCount];

  TAMIS_INLINE void Zero() { TAMIS_UNROLL for (int i = 0; i < kCount; ++i) part[i] = Vector{}; }
  TAMIS_INLINE void Load(const float* from) {
    TAMIS_UNROLL for (int i = 0; i < kCount; ++i) {
      __builtin_memcpy(&part[i], from + i * (kBytes / 4), sizeof part[i]);
    }
  }
  TAMIS_INLINE void Store(float* to) const {
    TAMIS_UNROLL for (int i = 0; i < kCount; ++i) {
      __builtin_memcpy(to + i * (kBytes / 4), &part[i], sizeof part[i]);
    }
  }
  TAMIS_INLINE void AddProduct(float x, const Lanes& y) {
    TAMIS_UNROLL for (int i = 0; i < kCount; ++i) part[i] += x * y.part[i];
  }
  TAMIS_INLINE void AddProduct(const Lanes& x, const Lanes& y) {
    TAMIS_UNROLL for (int i = 0; i < kCount; ++i) part[i] += x.part[i] * y.part[i];
  }
  TAMIS_INLINE float Sum() const {
    float lane[kLanes];
    Store(lane);
    for (int width = kLanes / 2; width > 0; width /= 2) {
      for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
    }
    return lane[0];
  }
};

TAMIS_INLINE int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

// R rows against one tile of keys: each key vector is loaded once for all of them.
template <int kBytes, int R>
TAMIS_INLINE void DotTile(float* logits, const float* q, const float* keys, int64_t head_dim,
                          int64_t logit_stride, float scale) {
  Lanes<kBytes> sum[R];
  TAMIS_UNROLL for (int r = 0; r < R; ++r) sum[r].Zero();
  for (int64_t d = 0; d < head_dim; ++d) {
    Lanes<kBytes> key;
    key.Load(keys + d * kLanes);
    TAMIS_UNROLL for (int r = 0; r < R; ++r) sum[r].AddProduct(q[r * head_dim + d], key);
  }
  TAMIS_UNROLL for (int r = 0; r < R; ++r) {
    for (auto& part : sum[r].part) part *= scale;
    sum[r].Store(logits + r * logit_stride);
  }
}

// All rows, R at a time and the rest by fewer.
template <int kBytes, int R>
TAMIS_INLINE void DotRows(float* logits, const float* q, const float* keys, int64_t rows,
                          int64_t head_dim, int64_t logit_stride, float scale) {
  int64_t r = 0;
  for (; r + R <= rows; r += R) {
    DotTile<kBytes, R>(logits + r * logit_stride, q + r * head_dim, keys, head_dim, logit_stride,
                       scale);
  }
  if constexpr (R > 1) {
    DotRows<kBytes, R - 1>(logits + r * logit_stride, q + r * head_dim, keys, rows - r, head_dim,
                           logit_stride, scale);
  }
}

template <int kBytes, int R>
void DotTiles(float* logits, const float* q, const float* keys, int64_t rows, int64_t tiles,
              int64_t head_dim, int64_t logit_stride, float scale) {
  for (int64_t t = 0; t < tiles; ++t) {
    DotRows<kBytes, R>(logits + t * kLanes, q, keys + t * head_dim * kLanes, rows, head_dim,
                       logit_stride, scale);
  }
}

// R rows times C vectors of value elements.
template <int kBytes, int R, int C>
TAMIS_INLINE void AddTile(float* acc, const float* p, const float* values, int64_t n,
                          int64_t padded_dim, int64_t p_stride) {
  Lanes<kBytes> sum[R][C];
  TAMIS_UNROLL for (int r = 0; r < R; ++r) {
    TAMIS_UNROLL for (int c = 0; c < C; ++c) sum[r][c].Load(acc + r * padded_dim + c * kLanes);
  }
  for (int64_t j = 0; j < n; ++j) {
    TAMIS_UNROLL for (int c = 0; c < C; ++c) {
      Lanes<kBytes> value;
      value.Load(values + j * padded_dim + c * kLanes);
      TAMIS_UNROLL for (int r = 0; r < R; ++r) sum[r][c].AddProduct(p[r * p_stride + j], value);
    }
  }
  TAMIS_UNROLL for (int r = 0; r < R; ++r) {
    TAMIS_UNROLL for (int c = 0; c < C; ++c) sum[r][c].Store(acc + r * padded_dim + c * kLanes);
  }
}

template <int kBytes, int R>
TAMIS_INLINE void AddRows(float* acc, const float* p, const float* values, int64_t rows, int64_t n,
                          int64_t padded_dim, int64_t p_stride) {
  int64_t r = 0;
  for (; r + R <= rows; r += R) {
    float* to = acc + r * padded_dim;
    int64_t d = 0;
    for (; d + 2 * kLanes <= padded_dim; d += 2 * kLanes) {
      AddTile<kBytes, R, 2>(to + d, p + r * p_stride, values + d, n, padded_dim, p_stride);
    }
    for (; d < padded_dim; d += kLanes) {
      AddTile<kBytes, R, 1>(to + d, p + r * p_stride, values + d, n, padded_dim, p_stride);
    }
  }
  if constexpr (R > 1) {
    AddRows<kBytes, R - 1>(acc + r * padded_dim, p + r * p_stride, values, rows - r, n, padded_dim,
                           p_stride);
  }
}

template <int kBytes, int R>
void AddWeightedValues(float* acc, const float* p, const float* values, int64_t rows, int64_t n,
                       int64_t padded_dim, int64_t p_stride) {
  for (int64_t j = 0; j < n; j += kKeysInL1) {
    AddRows<kBytes, R>(acc, p + j, values + j * padded_dim, rows, Least(kKeysInL1, n - j),
                       padded_dim, p_stride);
  }
}

template <int kBytes>
TAMIS_INLINE float MaxOf(const float* x, int64_t n) {
  Lanes<kBytes> lanes;
  for (auto& part : lanes.part) part = typename Lanes<kBytes>::Vector{} + kLowest;
  Lanes<kBytes> next;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    next.Load(x + i);
    TAMIS_UNROLL for (int c = 0; c < next.kCount; ++c) {
      lanes.part[c] = next.part[c] > lanes.part[c] ? next.part[c] : lanes.part[c];
    }
  }
  float lane[kLanes];
  lanes.Store(lane);
  float max = lane[0];
  for (int64_t l = 1; l < kLanes; ++l) max = lane[l] > max ? lane[l] : max;
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

// Through a buffer in L1: a plain loop for the exponentials, then lanes for the sum.
template <int kBytes, bool kWrite, typename Float>
TAMIS_INLINE MaxAndSum ExpAndSum(Float* x, int64_t n) {
  constexpr int64_t kBuffer = 256;
  const float max = MaxOf<kBytes>(x, n);
  Lanes<kBytes> sum;
  sum.Zero();
  float e[kBuffer];
  for (int64_t begin = 0; begin < n; begin += kBuffer) {
    const int64_t count = Least(kBuffer, n - begin);
    for (int64_t i = 0; i < count; ++i) e[i] = Exp(x[begin + i] - max);
    if constexpr (kWrite) __builtin_memcpy(x + begin, e, static_cast<size_t>(count) * sizeof *e);
    for (int64_t i = count; i % kLanes != 0; ++i) e[i] = 0.0f;
    for (int64_t i = 0; i < count; i += kLanes) {
      Lanes<kBytes> next;
      next.Load(e + i);
      TAMIS_UNROLL for (int c = 0; c < next.kCount; ++c) sum.part[c] += next.part[c];
    }
  }
  return {max, sum.Sum()};
}

template <int kBytes>
MaxAndSum ExpRow(float* x, int64_t n) {
  return ExpAndSum<kBytes, true>(x, n);
}
template <int kBytes>
MaxAndSum ExpSum(const float* x, int64_t n) {
  return ExpAndSum<kBytes, false>(x, n);
}

void SiluMulRow(float* out, const float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + Exp(-gate[i])) * up[i];
}

// M rows of a times N rows of weight.
template <int kBytes, int M, int N>
TAMIS_INLINE void ProductTile(float* out, int64_t out_stride, const float* a, int64_t a_stride,
                              const float* weight, int64_t k) {
  Lanes<kBytes> sum[M][N];
  TAMIS_UNROLL for (int m = 0; m < M; ++m) {
    TAMIS_UNROLL for (int n = 0; n < N; ++n) sum[m][n].Zero();
  }
  Lanes<kBytes> x[M];
  Lanes<kBytes> w;
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    TAMIS_UNROLL for (int m = 0; m < M; ++m) x[m].Load(a + m * a_stride + i);
    TAMIS_UNROLL for (int n = 0; n < N; ++n) {
      w.Load(weight + n * k + i);
      TAMIS_UNROLL for (int m = 0; m < M; ++m) sum[m][n].AddProduct(x[m], w);
    }
  }
  if (i < k) {  // zeros fill the last vector: adding them changes no bit
    float last[kLanes] = {};
    TAMIS_UNROLL for (int m = 0; m < M; ++m) {
      for (int64_t l = 0; i + l < k; ++l) last[l] = a[m * a_stride + i + l];
      x[m].Load(last);
    }
    TAMIS_UNROLL for (int n = 0; n < N; ++n) {
      for (int64_t l = 0; i + l < k; ++l) last[l] = weight[n * k + i + l];
      w.Load(last);
      TAMIS_UNROLL for (int m = 0; m < M; ++m) sum[m][n].AddProduct(x[m], w);
    }
  }
  TAMIS_UNROLL for (int m = 0; m < M; ++m) {
    TAMIS_UNROLL for (int n = 0; n < N; ++n) out[m * out_stride + n] = sum[m][n].Sum();
  }
}

template <int kBytes, int M, int N>
TAMIS_INLINE void ProductRows(float* out, int64_t out_stride, const float* a, int64_t a_stride,
                              const float* weight, int64_t m, int64_t n, int64_t k) {
  int64_t i = 0;
  for (; i + M <= m; i += M) {
    float* to = out + i * out_stride;
    int64_t j = 0;
    for (; j + N <= n; j += N) {
      ProductTile<kBytes, M, N>(to + j, out_stride, a + i * a_stride, a_stride, weight + j * k, k);
    }
    for (; j < n; ++j) {
      ProductTile<kBytes, M, 1>(to + j, out_stride, a + i * a_stride, a_stride, weight + j * k, k);
    }
  }
  if constexpr (M > 1) {
    ProductRows<kBytes, M - 1, N>(out + i * out_stride, out_stride, a + i * a_stride, a_stride,
                                  weight, m - i, n, k);
  }
}

template <int kBytes, int M, int N>
void RowProducts(float* out, int64_t out_stride, const float* a, int64_t a_stride,
                 const float* weight, int64_t m, int64_t n, int64_t k) {
  for (int64_t j = 0; j < n; j += kWeightRowsInL1) {
    ProductRows<kBytes, M, N>(out + j, out_stride, a, a_stride, weight + j * k, m,
                              Least(kWeightRowsInL1, n - j), k);
  }
}

// R rows share a load in attention, M x N products are formed at once: as many as registers hold.
template <int kBytes, int R, int M, int N>
constexpr VectorLoops MakeVectorLoops(const char* name, int64_t few_rows) {
  return {name,           few_rows,       DotTiles<kBytes, R>, AddWeightedValues<kBytes, R>,
          ExpRow<kBytes>, ExpSum<kBytes>, SiluMulRow,          RowProducts<kBytes, M, N>};
}

}  // namespace
}  // namespace tamis::cpu
