// SPDX-License-Identifier: Apache-2.0
// The vector loops under AttentionBlock, compiled per instruction set.
#pragma once

#include <cstdint>

namespace tamis::cpu {

constexpr int64_t kTile = 16;  // keys, or value elements, side by side in a vector

// logits[r, t * 16 + l] = scale * sum over d ascending of q[r, d] * keys[t, d, l].
void DotTiles(float* logits,      // [R, logit_stride]
              const float* q,     // [R, D]
              const float* keys,  // [tiles, D, 16]
              int64_t rows, int64_t tiles, int64_t head_dim, int64_t logit_stride, float scale);

// acc[r, d] += sum over j ascending of p[r, j] * values[j, d].
void AddWeightedValues(float* acc,           // [R, D_pad]
                       const float* p,       // [R, p_stride]
                       const float* values,  // [n, D_pad]
                       int64_t rows, int64_t n, int64_t padded_dim, int64_t p_stride);

// x[i] = exp(x[i] - max(x)), over n; returns the maximum and the sum.
struct MaxAndSum {
  float max;
  float sum;
};
MaxAndSum ExpRow(float* x, int64_t n);

// The same without writing x.
MaxAndSum ExpSum(const float* x, int64_t n);

}  // namespace tamis::cpu
