// SPDX-License-Identifier: Apache-2.0
// RopeAndStoreKv: rotates queries and keys in place and writes keys and values into their pages.
// A thread owns kWidth pairs of one head, or kWidth elements of both halves of a value head.
#include "kernels/backends.h"
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"

namespace tamis::cuda {
namespace {

constexpr unsigned kThreads = 128;

struct RopeParams {
  const int32_t* positions;    // [T]
  const int32_t* token_slots;  // [T]
  const float* inv_freq;       // [D / 2]
  int64_t row_width;           // (Nq_local + 2 * Nkv_local) * D
  int64_t block_stride, head_stride, value_offset;
  int block_tokens, q_heads, kv_heads, head_dim;
};

template <typename T, int kWidth>
__device__ void Rotate(Vec<T, kWidth>& low, Vec<T, kWidth>& high, const float* inv_freq,
                       float position) {
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    float sine, cosine;
    sincosf(position * inv_freq[j], &sine, &cosine);
    const float a = ToFloat(low.v[j]);
    const float b = ToFloat(high.v[j]);
    low.v[j] = FromFloat<T>(a * cosine - b * sine);
    high.v[j] = FromFloat<T>(b * cosine + a * sine);
  }
}

template <typename T, int kWidth>
__global__ void RopeAndStoreKvKernel(T* qkv,    // [T, row_width]
                                     T* pages,  // [B, Nkv_local, 2, P, D]
                                     RopeParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int half = p.head_dim / 2;
  const int threads_per_head = half / kWidth;
  const int item = blockIdx.y * blockDim.x + threadIdx.x;
  const int head = item / threads_per_head;
  if (head >= p.q_heads + 2 * p.kv_heads) return;
  const int i = item % threads_per_head * kWidth;
  const int64_t t = blockIdx.x;
  T* x = qkv + t * p.row_width + int64_t{head} * p.head_dim;
  Vec<T, kWidth> low = LoadVec<T, kWidth>(x + i);
  Vec<T, kWidth> high = LoadVec<T, kWidth>(x + half + i);
  const bool is_value = head >= p.q_heads + p.kv_heads;
  if (!is_value) {
    Rotate<T, kWidth>(low, high, p.inv_freq + i, static_cast<float>(p.positions[t]));
    StoreVec(x + i, low);
    StoreVec(x + half + i, high);
  }
  const int slot = p.token_slots[t];
  if (head < p.q_heads || slot < 0) return;
  const int kv_head = (head - p.q_heads) % p.kv_heads;
  T* to = pages + slot / p.block_tokens * p.block_stride + kv_head * p.head_stride +
          (is_value ? p.value_offset : 0) + int64_t{slot % p.block_tokens} * p.head_dim;
  StoreVec(to + i, low);
  StoreVec(to + half + i, high);
}

}  // namespace

void RopeAndStoreKv(TensorView qkv, const KvPages& pages, ConstTensorView positions,
                    ConstTensorView token_slots, ConstTensorView inv_freq, int64_t q_heads_local,
                    const Stream& stream) {
  if (qkv.empty()) return;
  RopeParams p = {};
  p.positions = positions.As<int32_t>();
  p.token_slots = token_slots.As<int32_t>();
  p.inv_freq = inv_freq.As<float>();
  p.row_width = qkv.shape[1];
  p.block_stride = pages.block_stride();
  p.head_stride = pages.head_stride();
  p.value_offset = pages.value_offset();
  p.block_tokens = static_cast<int>(pages.block_tokens);
  p.q_heads = static_cast<int>(q_heads_local);
  p.kv_heads = static_cast<int>(pages.kv_heads_local);
  p.head_dim = static_cast<int>(pages.head_dim);
  DispatchFloat(qkv.dtype, [&](auto tag) {
    using T = decltype(tag);
    const auto run = [&]<int kWidth>() {
      const int64_t items =
          (q_heads_local + 2 * pages.kv_heads_local) * (pages.head_dim / 2 / kWidth);
      const dim3 blocks(static_cast<unsigned>(qkv.shape[0]),
                        static_cast<unsigned>(CeilDiv(items, kThreads)));
      Launch(RopeAndStoreKvKernel<T, kWidth>, Grid(blocks, kThreads), stream,
             static_cast<T*>(qkv.data), static_cast<T*>(pages.data), p);
    };
    const bool wide = pages.head_dim % 8 == 0 && Aligned16(qkv.data) && Aligned16(pages.data);
    wide ? run.template operator()<4>() : run.template operator()<1>();
  });
}

}  // namespace tamis::cuda
