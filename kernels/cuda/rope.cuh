// SPDX-License-Identifier: Apache-2.0
// Rotary embedding, and where a token's keys and values go: shared by RopeAndStoreKv and the
// product that is fused with it.
#pragma once

#include "kernels/cuda/dtype.cuh"
#include "kernels/kv_layout.h"

namespace tamis::cuda {

struct RopeParams {
  const int32_t* positions;    // [T]
  const int32_t* token_slots;  // [T]
  const float* inv_freq;       // [D / 2]
  int64_t block_stride, head_stride, value_offset;
  int block_tokens, q_heads, kv_heads, head_dim;
};

inline RopeParams RopeParamsOf(const KvPages& pages, const ConstTensorView& positions,
                               const ConstTensorView& token_slots, const ConstTensorView& inv_freq,
                               int64_t q_heads_local) {
  return {positions.As<int32_t>(),
          token_slots.As<int32_t>(),
          inv_freq.As<float>(),
          pages.block_stride(),
          pages.head_stride(),
          pages.value_offset(),
          static_cast<int>(pages.block_tokens),
          static_cast<int>(q_heads_local),
          static_cast<int>(pages.kv_heads_local),
          static_cast<int>(pages.head_dim)};
}

// Multiply-adds are spelt out, so that the compiler chooses the same bits everywhere.
template <typename T>
__device__ __forceinline__ void RotatePair(T& low, T& high, float angle) {
  float sine, cosine;
  sincosf(angle, &sine, &cosine);
  const float a = ToFloat(low);
  const float b = ToFloat(high);
  low = FromFloat<T>(fmaf(a, cosine, -(b * sine)));
  high = FromFloat<T>(fmaf(b, cosine, a * sine));
}

// Where key or value head `head`, counted over the fused row, of the token in `slot` belongs.
template <typename T>
__device__ __forceinline__ T* PlaceInPages(T* pages, const RopeParams& p, int head, int slot) {
  const int kv_head = (head - p.q_heads) % p.kv_heads;
  const bool is_value = head >= p.q_heads + p.kv_heads;
  return pages + slot / p.block_tokens * p.block_stride + kv_head * p.head_stride +
         (is_value ? p.value_offset : 0) + int64_t{slot % p.block_tokens} * p.head_dim;
}

}  // namespace tamis::cuda
