// SPDX-License-Identifier: Apache-2.0
// What a product of few rows (skinny_matmul.cu) does with its sums: stores them, or makes something
// of two that belong together, both rounded to their type as if they had been stored.
#pragma once

#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/rope.cuh"
#include "kernels/cuda/silu.cuh"

namespace tamis::cuda {

// Which weight rows are pairs: among every 2 * half of them, row i with row half + i.
struct PairRows {
  int half;
  uint32_t reciprocal;  // of half, times 2^32 and rounded up; 0 where one group is all

  // Groups are counted over pairs: exact while pairs * half < 2^32.
  __device__ __forceinline__ int GroupOf(int pair) const {
    return static_cast<int>(__umulhi(static_cast<unsigned>(pair), reciprocal));
  }
  __device__ __forceinline__ int FirstRow(int pair) const { return pair + GroupOf(pair) * half; }
};

inline PairRows PairRowsOf(int64_t half, int64_t pairs) {
  CHECK(half > 0 && pairs % half == 0);
  if (half == pairs) return {static_cast<int>(half), 0};
  CHECK(half > 1 && pairs * half < int64_t{1} << 32);
  return {static_cast<int>(half), static_cast<uint32_t>(((int64_t{1} << 32) + half - 1) / half)};
}

template <typename Out_>
struct StoreProduct {
  static constexpr bool kPaired = false;
  using Out = Out_;
  Out* out;  // [M, N], rows out_stride elements apart
  int64_t out_stride;

  struct Early {};
  __device__ __forceinline__ Early Load(int, int) const { return {}; }
  __device__ __forceinline__ void operator()(Early, int row, int column, Out value) const {
    out[row * out_stride + column] = value;
  }
};

template <typename T>
struct GateProduct {
  static constexpr bool kPaired = true;
  using Out = T;
  T* out;  // [M, F], rows out_stride elements apart
  int64_t out_stride;

  struct Early {};
  __device__ __forceinline__ Early Load(int, int) const { return {}; }
  __device__ __forceinline__ void operator()(Early, int row, int pair, T gate, T up) const {
    out[row * out_stride + pair] = SiluTimes(gate, up);
  }
};

template <typename T>
struct RotateProduct {
  static constexpr bool kPaired = true;
  using Out = T;
  T* qkv;    // [M, 2 * pairs]; only the query heads are written
  T* pages;  // [B, Nkv_local, 2, P, D]
  int64_t row_width;
  PairRows heads;
  RopeParams rope;

  struct Early {  // what is loaded while the weights are on their way
    int position, slot;
    float inv_freq;
  };
  __device__ __forceinline__ Early Load(int row, int pair) const {
    return {rope.positions[row], rope.token_slots[row],
            rope.inv_freq[pair - heads.GroupOf(pair) * heads.half]};
  }
  __device__ __forceinline__ void operator()(const Early& early, int row, int pair, T low,
                                             T high) const {
    const int head = heads.GroupOf(pair);
    const int i = pair - head * heads.half;
    if (head < rope.q_heads + rope.kv_heads) {
      RotatePair(low, high, static_cast<float>(early.position) * early.inv_freq);
    }
    if (head >= rope.q_heads && early.slot < 0) return;
    T* to = head < rope.q_heads ? qkv + row * row_width + int64_t{head} * rope.head_dim
                                : PlaceInPages(pages, rope, head, early.slot);
    to[i] = low;
    to[heads.half + i] = high;
  }
};

}  // namespace tamis::cuda
