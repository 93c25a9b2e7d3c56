// SPDX-License-Identifier: Apache-2.0
// Decoding attention that scores the candidates. The logits are computed a second time for the
// scores: that needs no memory per token, and the softmax denominators come first.
#include <algorithm>
#include <cmath>

#include "kernels/backends.h"
#include "kernels/check.h"
#include "kernels/cpu/attend_pages.h"
#include "kernels/cpu/exp.h"
#include "kernels/filter_scores.h"

namespace tamis::cpu {
namespace {

// Folds one head's logits into the scores of n candidates. `lse` is unused for raw logits.
void FoldHead(float* scores, const float* logits, int64_t n, ScoreKind kind, float lse,
              bool first_head) {
  for (int64_t j = 0; j < n; ++j) {
    float score = logits[j];
    if (kind == ScoreKind::kSoftmaxMax) score -= lse;
    if (kind == ScoreKind::kSoftmaxMean) score = Exp(score - lse);
    if (first_head) {
      scores[j] = score;
    } else if (kind == ScoreKind::kSoftmaxMean) {
      scores[j] += score;
    } else {
      scores[j] = std::fmax(scores[j], score);  // a number beats NaN, as in order_key.h
    }
  }
}

// The scores, and the attention too unless `out` is unset.
void Filter(TensorView out, TensorView scores, ConstTensorView q, const KvPages& pages,
            const DecodeBatch& batch, const CandidateView& candidates, ScoreKind kind,
            ops::LseScope lse_scope, float scale, Scratch& scratch) {
  const int64_t head_dim = pages.head_dim;
  const int64_t group = q.shape[1] / head_dim / pages.kv_heads_local;
  const int64_t selection_rows = scores.shape[1];
  const int64_t blocks_max = batch.block_table.shape[1];
  const KvRows rows = RowsOf(pages);
  const ScratchScope scope(scratch);
  AttentionBlock block(scratch, group, head_dim);
  float* lse = scratch.Take({group}, DType::kF32).As<float>();
  for (int64_t s = 0; s < q.shape[0]; ++s) {
    const int64_t context = batch.context_lens.As<int32_t>()[s];
    const int64_t begin = candidates.begin.As<int32_t>()[s];
    const int64_t end = std::max<int64_t>(begin, candidates.end.As<int32_t>()[s]);
    CHECK(context >= 0 && context <= blocks_max * pages.block_tokens)
        << "sequence " << s << ": context " << context;
    CHECK(begin == end || (begin >= 0 && end <= context && end <= scores.shape[2]))
        << "sequence " << s << ": candidates [" << begin << ", " << end << ") of " << context;
    const int32_t* blocks = batch.block_table.As<int32_t>() + s * blocks_max;
    for (int64_t h = 0; h < pages.kv_heads_local; ++h) {
      const QueryRows queries{q, out, s, 1, h * group, group, head_dim};
      queries.Load(block);
      AttendPages(block, group, rows, blocks, h, 0, context, scale);
      if (out.data != nullptr) queries.Store(block);
      if (lse_scope == ops::LseScope::kCandidates) {
        block.Reset(group);
        AttendPages(block, group, rows, blocks, h, begin, end, scale);
      }
      for (int64_t g = 0; g < group; ++g) lse[g] = block.LogSumExp(g);
      const int64_t row = s * selection_rows + (selection_rows > 1 ? h : 0);
      for (int64_t start = begin; start < end; start += kAttentionChunkTokens) {
        const int64_t n = std::min(kAttentionChunkTokens, end - start);
        PageOffsets(block.offsets(), rows, blocks, start, start + n);
        block.LoadChunk(HeadOf(rows, h), n);
        block.ComputeLogits(scale, 0, group, n);
        for (int64_t g = 0; g < group; ++g) {
          FoldHead(scores.As<float>() + row * scores.shape[2] + start, block.logits(g), n, kind,
                   lse[g], g == 0 && (selection_rows > 1 || h == 0));
        }
      }
    }
  }
}

}  // namespace

void FilterAttention(TensorView out, TensorView scores, ConstTensorView q, const KvPages& pages,
                     const DecodeBatch& batch, const CandidateView& candidates, ScoreKind kind,
                     ops::LseScope lse_scope, float scale, Scratch& scratch, const Stream&) {
  Filter(out, scores, q, pages, batch, candidates, kind, lse_scope, scale, scratch);
}

void FilterScores(TensorView scores, ConstTensorView q, const KvPages& pages,
                  const DecodeBatch& batch, const CandidateView& candidates, ScoreKind kind,
                  ops::LseScope lse_scope, float scale, Scratch& scratch, const Stream&) {
  Filter({}, scores, q, pages, batch, candidates, kind, lse_scope, scale, scratch);
}

}  // namespace tamis::cpu
