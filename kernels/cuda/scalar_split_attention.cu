// SPDX-License-Identifier: Apache-2.0
// One warp per (chunk, query head, sequence). Lanes hold tokens while logits are formed and
// elements of the head while values are summed.
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/scalar_accumulator.cuh"
#include "kernels/cuda/scalar_split_attention.cuh"
#include "kernels/order_key.h"

namespace tamis::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;

template <typename T>
__global__ void ScalarSplitKernel(const __grid_constant__ SplitParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int lane = threadIdx.x % kWarpThreads;
  const int chunk = blockIdx.x * kWarps + threadIdx.x / kWarpThreads;
  const int head = blockIdx.y;
  const int s = blockIdx.z;
  const int kv_head = head / p.group;
  const int D = p.head_dim;
  const int length = AttendedTokens(p, s);
  const int chunk_tokens = p.rule.Tokens(length);
  const int tokens = min(chunk_tokens, length - chunk * chunk_tokens);
  if (tokens <= 0) return;
  const T* q = static_cast<const T*>(p.q) + s * p.q_stride + int64_t{head} * D;
  const T* keys = static_cast<const T*>(p.k_base) + kv_head * p.head_stride;
  const T* values = static_cast<const T*>(p.v_base) + kv_head * p.head_stride;
  ScalarAccumulator acc;
  for (int first = 0; first < tokens; first += kWarpThreads) {
    const int i = chunk * chunk_tokens + first + lane;
    const bool exists = first + lane < tokens;
    const int row = exists ? AttendedRow(p, s, kv_head, i) : 0;
    const float logit =
        acc.Add(q, keys, values, row * p.row_stride, min(kWarpThreads, tokens - first), D, p.scale);
    if (!exists || p.score_output == ScoreOutput::kNone) continue;
    if (p.score_output == ScoreOutput::kPerHead) {
      p.scores[(int64_t{s} * p.q_heads() + head) * p.n_max + i] = logit;
    } else if (i >= p.score_begin[s] && i < p.score_end[s]) {
      const int score_head = p.score_heads == 1 ? 0 : kv_head;
      atomicMax(p.keys + (int64_t{s} * p.score_heads + score_head) * p.n_max + i, OrderKey(logit));
    }
  }
  const int64_t slot = (int64_t{s} * p.q_heads() + head) * p.chunks_max + chunk;
  acc.ForEach(D, [&](int d, float sum) { p.sums[slot * D + d] = sum; });
  if (lane == 0) p.stats[slot] = make_float2(acc.max, acc.weight);
}

}  // namespace

void ScalarSplitAttention(const SplitParams& params, DType dtype, const Stream& stream) {
  CHECK_LE(params.head_dim, ScalarAccumulator::kHeadDimMax) << "head size";
  const dim3 blocks(static_cast<unsigned>(CeilDiv(params.chunks_max, kWarps)),
                    static_cast<unsigned>(params.q_heads()),
                    static_cast<unsigned>(params.sequences));
  DispatchFloat(dtype, [&](auto tag) {
    Launch(ScalarSplitKernel<decltype(tag)>, Grid(blocks, kThreads), stream, params);
  });
}

}  // namespace tamis::cuda
