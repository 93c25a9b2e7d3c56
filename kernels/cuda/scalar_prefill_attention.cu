// SPDX-License-Identifier: Apache-2.0
// PrefillAttention for what tensor cores do not take: one warp per query row and head.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/scalar_accumulator.cuh"

namespace tamis::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;

// Block (row piece, head).
template <typename T>
__global__ void ScalarPrefillKernel(const __grid_constant__ PrefillParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int t = blockIdx.x * kWarps + threadIdx.x / kWarpThreads;
  const int lane = threadIdx.x % kWarpThreads;
  const int head = blockIdx.y;
  if (t >= p.query_starts[p.sequences]) return;
  int s = 0;
  while (p.query_starts[s + 1] <= t) ++s;
  const int tokens = p.context_lens[s] - (p.query_starts[s + 1] - 1 - t);
  const int64_t kv_offset = head / p.group * p.head_stride;
  const T* q = static_cast<const T*>(p.q) + t * p.q_stride + int64_t{head} * p.head_dim;
  ScalarAccumulator acc;
  for (int first = 0; first < tokens; first += kWarpThreads) {
    const int i = min(first + lane, tokens - 1);
    const int block = p.block_table[int64_t{s} * p.blocks_max + i / p.block_tokens];
    const int64_t row = int64_t{block} * p.rows_per_block + i % p.block_tokens;
    acc.Add(q, static_cast<const T*>(p.k_base) + kv_offset,
            static_cast<const T*>(p.v_base) + kv_offset, row * p.row_stride,
            min(kWarpThreads, tokens - first), p.head_dim, p.scale);
  }
  T* out = static_cast<T*>(p.out) + (int64_t{t} * p.q_heads + head) * p.head_dim;
  acc.ForEach(p.head_dim, [&](int d, float sum) { out[d] = FromFloat<T>(sum / acc.weight); });
}

}  // namespace

void ScalarPrefillAttention(const PrefillParams& params, DType dtype, const Stream& stream) {
  CHECK_LE(params.head_dim, ScalarAccumulator::kHeadDimMax) << "head size";
  const dim3 blocks(static_cast<unsigned>(CeilDiv(params.query_rows, kWarps)),
                    static_cast<unsigned>(params.q_heads));
  DispatchFloat(dtype, [&](auto tag) {
    Launch(ScalarPrefillKernel<decltype(tag)>, Grid(blocks, kThreads), stream, params);
  });
}

}  // namespace tamis::cuda
