// SPDX-License-Identifier: Apache-2.0
// RopeAndStoreKv: rotates queries and keys in place and writes keys and values into their pages.
// A thread owns kWidth pairs of one head, or kWidth elements of both halves of a value head.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rope.cuh"

namespace tamis::cuda {
namespace {

constexpr unsigned kThreads = 128;

template <typename T, int kWidth>
__global__ void RopeAndStoreKvKernel(T* qkv,    // [T, (Nq_local + 2 * Nkv_local) * D]
                                     T* pages,  // [B, Nkv_local, 2, P, D]
                                     RopeParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int half = p.head_dim / 2;
  const int threads_per_head = half / kWidth;
  const int item = blockIdx.y * blockDim.x + threadIdx.x;
  const int head = item / threads_per_head;
  const int heads = p.q_heads + 2 * p.kv_heads;
  if (head >= heads) return;
  const int i = item % threads_per_head * kWidth;
  const int64_t t = blockIdx.x;
  T* x = qkv + (t * heads + head) * p.head_dim;
  Vec<T, kWidth> low = LoadVec<T, kWidth>(x + i);
  Vec<T, kWidth> high = LoadVec<T, kWidth>(x + half + i);
  if (head < p.q_heads + p.kv_heads) {
    const auto position = static_cast<float>(p.positions[t]);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      RotatePair(low.v[j], high.v[j], position * p.inv_freq[i + j]);
    }
    StoreVec(x + i, low);
    StoreVec(x + half + i, high);
  }
  const int slot = p.token_slots[t];
  if (head < p.q_heads || slot < 0) return;
  T* to = PlaceInPages(pages, p, head, slot);
  StoreVec(to + i, low);
  StoreVec(to + half + i, high);
}

}  // namespace

void RopeAndStoreKv(TensorView qkv, const KvPages& pages, ConstTensorView positions,
                    ConstTensorView token_slots, ConstTensorView inv_freq, int64_t q_heads_local,
                    const Stream& stream) {
  if (qkv.empty()) return;
  const RopeParams p = RopeParamsOf(pages, positions, token_slots, inv_freq, q_heads_local);
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
