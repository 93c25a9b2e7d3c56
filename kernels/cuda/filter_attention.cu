// SPDX-License-Identifier: Apache-2.0
// FilterAttention: DecodeAttention that keeps the logits it forms anyway. FilterScores: the same
// without the values. Raw scores are maxima of order keys, raised in place by whoever forms a logit
// and made scores at the end: 4 bytes per token, which stay in the L2. Softmax scores keep every
// head's logits, since their denominators are known only at the end.
#include <algorithm>

#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/radix_select.cuh"
#include "kernels/cuda/row_stats.cuh"
#include "kernels/filter_scores.h"

namespace tamis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLseThreads = 1024;
constexpr int64_t kRowBlocks = 512;  // of one launch, however long the rows may become
constexpr int kFoldTokens = 4;       // of a thread at once: 16 bytes of each head

struct ScoreParams {
  float* scores;        // [S, Hs, n_max]
  const float* logits;  // [S, Nq_local, logits_max]
  const float* lse;     // [S, Nq_local]
  const int32_t* begin;
  const int32_t* end;
  int32_t* next_item;  // see SplitParams
  int64_t n_max, logits_max;
  int q_heads, selection_heads;

  __device__ int sequence() const { return static_cast<int>(blockIdx.y) / selection_heads; }
  __device__ int first() const {
    return begin[sequence()] + static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  }
  __device__ int stride() const { return static_cast<int>(gridDim.x) * kThreads; }
  __device__ void ResetItems() const {
    if (blockIdx.x + blockIdx.y + threadIdx.x == 0) *next_item = 0;
  }
  __device__ float* row() const { return scores + int64_t{blockIdx.y} * n_max; }
};

// Blocks (piece, row = s * Hs + h). Keys of nothing, for the candidates.
__global__ void ClearKeysKernel(const __grid_constant__ ScoreParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  auto* keys = reinterpret_cast<uint32_t*>(p.row());
  const int end = p.end[p.sequence()];
  for (int j = p.first(); j < end; j += p.stride()) keys[j] = 0;
}

// Keys to scores, in place.
__global__ void ScoresOfKeysKernel(const __grid_constant__ ScoreParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  p.ResetItems();
  float* scores = p.row();
  const int end = p.end[p.sequence()];
  for (int j = p.first(); j < end; j += p.stride()) {
    scores[j] = ScoreOfKey(__float_as_uint(scores[j]));
  }
}

// Folds the logits of the heads of selection row h, in ascending order. Logits come as aligned
// fours, some of which may lie beside the candidates.
template <ScoreKind kKind>
__global__ void FoldLogitsKernel(const __grid_constant__ ScoreParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  p.ResetItems();
  const int s = p.sequence();
  const int heads = p.q_heads / p.selection_heads;
  const int64_t first = int64_t{s} * p.q_heads + blockIdx.y % p.selection_heads * heads;
  float* scores = p.row();
  const int begin = p.begin[s], end = p.end[s];
  const int skipped = begin % kFoldTokens;
  const auto thread = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  for (int j = begin - skipped + thread * kFoldTokens; j < end; j += p.stride() * kFoldTokens) {
    float score[kFoldTokens];
#pragma unroll
    for (float& one : score) one = kKind == ScoreKind::kSoftmaxMean ? 0.0f : NAN;
#pragma unroll 8
    for (int i = 0; i < heads; ++i) {
      const float4 four =
          *reinterpret_cast<const float4*>(p.logits + (first + i) * p.logits_max + j);
      const float lse = p.lse[first + i];
      const float parts[kFoldTokens] = {four.x - lse, four.y - lse, four.z - lse, four.w - lse};
#pragma unroll
      for (int t = 0; t < kFoldTokens; ++t) {
        if constexpr (kKind == ScoreKind::kSoftmaxMean) {
          score[t] += expf(parts[t]);
        } else {
          score[t] = fmaxf(score[t], parts[t]);  // a number beats NaN
        }
      }
    }
#pragma unroll
    for (int t = 0; t < kFoldTokens; ++t) {
      if (j + t >= begin && j + t < end) scores[j + t] = score[t];
    }
  }
}

// lse[s, head] over the candidates alone. Block (head, s).
__global__ void __launch_bounds__(kLseThreads)
    CandidateLseKernel(float* lse, const float* logits, const int32_t* begin, const int32_t* end,
                       int64_t n_max) {
  __shared__ float space[kLseThreads / kWarpThreads];
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t row = int64_t{blockIdx.y} * gridDim.x + blockIdx.x;
  const int first = begin[blockIdx.y] + static_cast<int>(threadIdx.x);
  const int last = end[blockIdx.y];
  float max = -INFINITY;
  for (int j = first; j < last; j += kLseThreads) max = fmaxf(max, logits[row * n_max + j]);
  max = BlockReduce(max, MaxOp{}, space);
  float sum = 0;
  for (int j = first; j < last; j += kLseThreads) sum += expf(logits[row * n_max + j] - max);
  sum = BlockReduce(sum, SumOp{}, space);
  if (threadIdx.x == 0) lse[row] = max + logf(sum);
}

// lse[s, head] from the stats of the row's chunks, where there is no attention to combine. One warp
// per row.
__global__ void LseKernel(const __grid_constant__ SplitParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int chunks = p.rule.Chunks(AttendedTokens(p, static_cast<int>(blockIdx.y)));
  const int64_t row = int64_t{blockIdx.y} * p.q_heads() + blockIdx.x;
  const float2 stats = RowStats(p.stats + row * p.chunks_max, chunks);
  if (threadIdx.x == 0) p.lse[row] = NaturalLse(stats);
}

// The scores, and the attention too unless `out` is unset.
void Filter(const TensorView& out, const TensorView& scores, const ConstTensorView& q,
            const KvPages& pages, const DecodeBatch& batch, const CandidateView& candidates,
            ScoreKind kind, ops::LseScope lse_scope, float scale, Scratch& scratch,
            const Stream& stream) {
  if (q.empty()) return;
  const ScratchScope scope(scratch);
  SplitParams params = MakeSplitParams(out, q, RowsOf(pages), batch, scale, scratch);
  params.keys_only = out.data == nullptr;
  ScoreParams fold = {};
  fold.scores = scores.As<float>();
  fold.begin = candidates.begin.As<int32_t>();
  fold.end = candidates.end.As<int32_t>();
  fold.next_item = params.next_item;
  fold.n_max = scores.shape[2];
  fold.q_heads = params.q_heads();
  fold.selection_heads = static_cast<int>(scores.shape[1]);
  const int64_t rows = int64_t{params.sequences} * fold.selection_heads;
  const auto per_row = [&](int tokens_each) {
    const int64_t pieces = CeilDiv(batch.context_len_max + tokens_each - 1, kThreads * tokens_each);
    return Grid(dim3(static_cast<unsigned>(std::min(pieces, CeilDiv(kRowBlocks, rows))),
                     static_cast<unsigned>(rows)),
                kThreads);
  };
  if (kind == ScoreKind::kRawMax) {
    params.score_output = ScoreOutput::kMaxKey;
    params.keys = reinterpret_cast<uint32_t*>(fold.scores);
    params.score_begin = fold.begin;
    params.score_end = fold.end;
    params.score_heads = fold.selection_heads;
    params.n_max = fold.n_max;
    Launch(ClearKeysKernel, per_row(1), stream, fold);
    SplitAttention(params, q.dtype, stream);
    Launch(ScoresOfKeysKernel, per_row(1), stream, fold);
    return;
  }
  params.score_output = ScoreOutput::kPerHead;
  params.n_max = CeilDiv(batch.context_len_max, kAttentionChunkTokens) * kAttentionChunkTokens;
  params.scores =
      scratch.Take({params.sequences, params.q_heads(), params.n_max}, DType::kF32).As<float>();
  params.lse = scratch.Take({params.sequences, params.q_heads()}, DType::kF32).As<float>();
  fold.logits = params.scores;
  fold.logits_max = params.n_max;
  fold.lse = params.lse;
  SplitAttention(params, q.dtype, stream);
  const dim3 heads(static_cast<unsigned>(params.q_heads()),
                   static_cast<unsigned>(params.sequences));
  if (lse_scope == ops::LseScope::kCandidates) {
    Launch(CandidateLseKernel, Grid(heads, kLseThreads), stream, params.lse, params.scores,
           fold.begin, fold.end, params.n_max);
  } else if (params.keys_only) {
    Launch(LseKernel, Grid(heads, kWarpThreads), stream, params);
  }
  Launch(kind == ScoreKind::kSoftmaxMax ? FoldLogitsKernel<ScoreKind::kSoftmaxMax>
                                        : FoldLogitsKernel<ScoreKind::kSoftmaxMean>,
         per_row(kFoldTokens), stream, fold);
}

}  // namespace

void FilterAttention(TensorView out, TensorView scores, ConstTensorView q, const KvPages& pages,
                     const DecodeBatch& batch, const CandidateView& candidates, ScoreKind kind,
                     ops::LseScope lse_scope, float scale, Scratch& scratch, const Stream& stream) {
  Filter(out, scores, q, pages, batch, candidates, kind, lse_scope, scale, scratch, stream);
}

void FilterScores(TensorView scores, ConstTensorView q, const KvPages& pages,
                  const DecodeBatch& batch, const CandidateView& candidates, ScoreKind kind,
                  ops::LseScope lse_scope, float scale, Scratch& scratch, const Stream& stream) {
  Filter({}, scores, q, pages, batch, candidates, kind, lse_scope, scale, scratch, stream);
}

}  // namespace tamis::cuda
