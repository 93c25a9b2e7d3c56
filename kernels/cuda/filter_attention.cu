// SPDX-License-Identifier: Apache-2.0
// FilterAttention: DecodeAttention that keeps the logits it forms anyway, then turns them into
// scores. Raw scores keep one maximum per unit of heads; softmax scores keep every head's logits,
// since their denominators are known only at the end.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLseThreads = 1024;

struct ScoreParams {
  float* scores;       // [S, Hs, n_max]
  const float* parts;  // [S, parts, parts_max]: unit maxima, or every head's logits
  const float* lse;    // [S, Nq_local]
  const int32_t* begin;
  const int32_t* end;
  int64_t n_max, parts_max;
  int parts_per_sequence, selection_heads;
};

// Block (piece, row = s * Hs + h) folds the parts of selection row h, in ascending order.
template <ScoreKind kKind>
__global__ void FoldScoresKernel(const __grid_constant__ ScoreParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int s = blockIdx.y / p.selection_heads;
  const int h = blockIdx.y % p.selection_heads;
  const int per_row = p.parts_per_sequence / p.selection_heads;
  const int64_t first = int64_t{s} * p.parts_per_sequence + h * per_row;
  const int end = p.end[s];
  for (int j = p.begin[s] + static_cast<int>(blockIdx.x * kThreads + threadIdx.x); j < end;
       j += static_cast<int>(gridDim.x) * kThreads) {
    float score = kKind == ScoreKind::kSoftmaxMean ? 0.0f : -INFINITY;
    bool number = false;
    for (int i = 0; i < per_row; ++i) {
      float part = p.parts[(first + i) * p.parts_max + j];
      if constexpr (kKind != ScoreKind::kRawMax) part -= p.lse[first + i];
      if constexpr (kKind == ScoreKind::kSoftmaxMean) {
        score += expf(part);
      } else {
        number |= part == part;  // a number beats NaN
        score = fmaxf(score, part);
      }
    }
    if (kKind != ScoreKind::kSoftmaxMean && !number) score = NAN;
    p.scores[int64_t{blockIdx.y} * p.n_max + j] = score;
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

}  // namespace

void FilterAttention(TensorView out, TensorView scores, ConstTensorView q, const KvPages& pages,
                     const DecodeBatch& batch, const CandidateView& candidates, ScoreKind kind,
                     ops::LseScope lse_scope, float scale, Scratch& scratch, const Stream& stream) {
  if (out.empty()) return;
  const ScratchScope scope(scratch);
  SplitParams params =
      MakeSplitParams(q, RowsOf(pages), batch, batch.context_len_max, scale, scratch);
  const bool raw = kind == ScoreKind::kRawMax;
  const int parts = raw ? params.units() : params.q_heads();
  // Parts reach to the end of the context; scores, if they are longer, stay undefined there.
  params.n_max = int64_t{params.chunks_max} * kChunkTokens;
  params.scores = scratch.Take({params.sequences, parts, params.n_max}, DType::kF32).As<float>();
  float* lse = scratch.Take({params.sequences, params.q_heads()}, DType::kF32).As<float>();
  params.score_output = raw ? ScoreOutput::kUnitMax : ScoreOutput::kPerHead;
  SplitAttention(params, q.dtype, stream);
  CombinePartials(out, lse, params, stream);
  const auto* begin = candidates.begin.As<int32_t>();
  const auto* end = candidates.end.As<int32_t>();
  const auto sequences = static_cast<unsigned>(params.sequences);
  if (!raw && lse_scope == ops::LseScope::kCandidates) {
    Launch(CandidateLseKernel, Grid(dim3(params.q_heads(), sequences), kLseThreads), stream, lse,
           params.scores, begin, end, params.n_max);
  }
  auto* fold = raw                              ? FoldScoresKernel<ScoreKind::kRawMax>
               : kind == ScoreKind::kSoftmaxMax ? FoldScoresKernel<ScoreKind::kSoftmaxMax>
                                                : FoldScoresKernel<ScoreKind::kSoftmaxMean>;
  const int selection_heads = static_cast<int>(scores.shape[1]);
  const int64_t pieces = CeilDiv(batch.context_len_max, kThreads);
  const dim3 blocks(static_cast<unsigned>(std::min<int64_t>(pieces, 1024)),
                    sequences * static_cast<unsigned>(selection_heads));
  const ScoreParams fold_params = {scores.As<float>(), params.scores, lse,   begin,          end,
                                   scores.shape[2],    params.n_max,  parts, selection_heads};
  Launch(fold, Grid(blocks, kThreads), stream, fold_params);
}

}  // namespace tamis::cuda
