// SPDX-License-Identifier: Apache-2.0
// The hot loops of the CPU ops, compiled once per instruction set and chosen by the machine at run
// time. Every sum has one fixed order over 16 lanes and nothing is fused, so that all versions
// agree bit for bit, and a result never depends on how many rows were computed beside it.
#pragma once

#include <cstdint>

namespace tamis::cpu {

constexpr int64_t kLanes = 16;

struct MaxAndSum {
  float max;
  float sum;
};

struct VectorLoops {
  const char* name;
  int64_t few_rows;  // up to here row_products beats BLAS

  // logits[r, t * 16 + l] = scale * sum over d of q[r, d] * keys[t, d, l], d ascending.
  void (*dot_tiles)(float* logits,      // [R, logit_stride]
                    const float* q,     // [R, D]
                    const float* keys,  // [tiles, D, 16]
                    int64_t rows, int64_t tiles, int64_t head_dim, int64_t logit_stride,
                    float scale);
  // acc[r, d] += sum over j of p[r, j] * values[j, d], j ascending.
  void (*add_weighted_values)(float* acc,           // [R, D_pad], D_pad a multiple of 16
                              const float* p,       // [R, p_stride]
                              const float* values,  // [n, D_pad]
                              int64_t rows, int64_t n, int64_t padded_dim, int64_t p_stride);
  // x = exp(x - max(x)); returns the maximum and the sum of the result.
  MaxAndSum (*exp_row)(float* x, int64_t n);
  // The same without writing x.
  MaxAndSum (*exp_sum)(const float* x, int64_t n);
  // out = silu(gate) * up. out may alias either.
  void (*silu_mul)(float* out, const float* gate, const float* up, int64_t n);
  // out[m, n] = sum over k of a[m, k] * weight[n, k]: for few rows, where reading the weights is
  // all the time it takes.
  void (*row_products)(float* out, int64_t out_stride, const float* a, int64_t a_stride,
                       const float* weight, int64_t m, int64_t n, int64_t k);
};

// The widest that this machine runs.
const VectorLoops& BestVectorLoops();

// All that this machine runs, widest first and null after the last; for tests.
constexpr int kVectorLoopsMax = 3;
struct VectorLoopsList {
  const VectorLoops* loops[kVectorLoopsMax] = {};
};
VectorLoopsList RunnableVectorLoops();

}  // namespace tamis::cpu
