// SPDX-License-Identifier: Apache-2.0
// Scores from the queries of the last tokens. Every step attends anew from all of them: that needs
// no memory per token of the context, and after a preemption the queries come back by themselves.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cpu/attend_pages.h"
#include "kernels/cpu/exp.h"
#include "kernels/window_ops.h"

namespace tamis::cpu {
namespace {

constexpr int64_t kChunk = kAttentionChunkTokens;

// One KV head's queries of a sequence, ages [first_age, first_age + ages), `group` rows each.
struct WindowRows {
  const KvRows& kv;
  const int32_t* blocks;
  int64_t kv_head;
  int64_t group;
  int64_t first_age;
  int64_t ages;
  int64_t context;

  int64_t rows() const { return ages * group; }
  // Tokens that row r's query sees.
  int64_t visible(int64_t row) const { return context - first_age - row / group; }
};

void LoadQueries(AttentionBlock& block, const WindowRows& rows, const ConstTensorView& window,
                 int64_t slot) {
  const int64_t size = window.shape[1];  // W
  const int64_t width = window.shape[2];
  const int64_t head_dim = rows.kv.head_dim;
  const int64_t bytes = static_cast<int64_t>(DTypeBytes(window.dtype));
  block.Reset(rows.rows());
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const int64_t place = (rows.visible(row) - 1) % size;
    const int64_t head = rows.kv_head * rows.group + row % rows.group;
    const int64_t element = (slot * size + place) * width + head * head_dim;
    block.SetQuery(row, static_cast<const std::byte*>(window.data) + element * bytes, window.dtype);
  }
}

// Calls f(start, n) with the chunk at [start, start + n) loaded and all rows' logits computed.
template <typename F>
void ForChunks(AttentionBlock& block, const WindowRows& rows, int64_t begin, int64_t end,
               float scale, const F& f) {
  for (int64_t start = begin; start < end; start += kChunk) {
    const int64_t n = std::min(kChunk, end - start);
    PageOffsets(block.offsets(), rows.kv, rows.blocks, start, start + n);
    block.LoadChunk(HeadOf(rows.kv, rows.kv_head), n);
    block.ComputeLogits(scale, 0, rows.rows(), n);
    f(start, n);
  }
}

// Folds row r's probabilities of the n candidates from `start` on into the scores of its age.
void FoldRow(float* scores, const float* logits, int64_t n, int64_t num_visible, float lse,
             bool first) {
  for (int64_t j = 0; j < n; ++j) {
    const float p = j < num_visible ? Exp(logits[j] - lse) : 0.0f;
    scores[j] = first ? p : std::fmax(scores[j], p);  // a number beats NaN, as in order_key.h
  }
}

}  // namespace

void StoreWindowQueries(TensorView window, ConstTensorView q, ConstTensorView positions,
                        ConstTensorView slots, const Stream&) {
  const int64_t size = window.shape[1];
  const size_t row_bytes = static_cast<size_t>(window.shape[2]) * DTypeBytes(window.dtype);
  const size_t stride = static_cast<size_t>(q.row_stride) * DTypeBytes(q.dtype);
  for (int64_t t = 0; t < q.shape[0]; ++t) {
    const int64_t slot = slots.As<int32_t>()[t];
    if (slot < 0) continue;
    CHECK_LT(slot, window.shape[0]) << "token " << t;
    const int64_t place = slot * size + positions.As<int32_t>()[t] % size;
    std::memcpy(static_cast<std::byte*>(window.data) + static_cast<size_t>(place) * row_bytes,
                static_cast<const std::byte*>(q.data) + static_cast<size_t>(t) * stride, row_bytes);
  }
}

void WindowScores(TensorView window_scores, ConstTensorView window, ConstTensorView slots,
                  const KvPages& pages, const DecodeBatch& batch, const CandidateView& candidates,
                  ops::LseScope lse_scope, float scale, Scratch& scratch, const Stream&) {
  const int64_t group = window.shape[2] / pages.head_dim / pages.kv_heads_local;
  const int64_t selection_rows = window_scores.shape[1];
  const int64_t size = window_scores.shape[2];  // W
  const int64_t n_max = window_scores.shape[3];
  const int64_t blocks_max = batch.block_table.shape[1];
  const int64_t ages_at_once = std::max<int64_t>(1, kQueryRows / group);
  const KvRows kv = RowsOf(pages);
  const ScratchScope scope(scratch);
  AttentionBlock block(scratch, ages_at_once * group, pages.head_dim);
  for (int64_t s = 0; s < window_scores.shape[0]; ++s) {
    const int64_t context = batch.context_lens.As<int32_t>()[s];
    const int64_t begin = candidates.begin.As<int32_t>()[s];
    const int64_t end = candidates.end.As<int32_t>()[s];
    if (end <= begin) continue;
    const int64_t slot = slots.As<int32_t>()[s];
    CHECK(slot >= 0 && slot < window.shape[0]) << "sequence " << s << ": slot " << slot;
    CHECK(begin >= 0 && end <= context && context <= blocks_max * pages.block_tokens)
        << "sequence " << s << ": candidates [" << begin << ", " << end << ") of " << context;
    float* scores = window_scores.As<float>() + s * selection_rows * size * n_max;
    for (int64_t row = 0; row < selection_rows * size; ++row) {
      std::fill(scores + row * n_max + begin, scores + row * n_max + end, 0.0f);
    }
    for (int64_t h = 0; h < pages.kv_heads_local; ++h) {
      float* of_head = scores + (selection_rows > 1 ? h * size * n_max : 0);
      for (int64_t age = 0; age < std::min(size, context); age += ages_at_once) {
        const WindowRows rows{
            kv,  batch.block_table.As<int32_t>() + s * blocks_max,      h,      group,
            age, std::min(ages_at_once, std::min(size, context) - age), context};
        LoadQueries(block, rows, window, slot);
        // 1. Each query's softmax denominator.
        const bool all = lse_scope == ops::LseScope::kAll;
        const int64_t lse_end = all ? rows.visible(0) : std::min(end, rows.visible(0));
        ForChunks(block, rows, all ? 0 : begin, lse_end, scale, [&](int64_t start, int64_t n) {
          for (int64_t r = 0; r < rows.rows(); ++r) {
            block.limits()[r] = std::clamp<int64_t>(rows.visible(r) - start, 0, n);
          }
          block.Absorb(0, rows.rows());
        });
        // 2. The candidates' probabilities; heads by maximum.
        ForChunks(block, rows, begin, end, scale, [&](int64_t start, int64_t n) {
          for (int64_t r = 0; r < rows.rows(); ++r) {
            FoldRow(of_head + (age + r / group) * n_max + start, block.logits(r), n,
                    rows.visible(r) - start, block.LogSumExp(r),
                    r % group == 0 && (selection_rows > 1 || h == 0));
          }
        });
      }
    }
  }
}

void SumWindowScores(TensorView scores, ConstTensorView window_scores,
                     const CandidateView& candidates, ScoreKind kind, const Stream&) {
  const int64_t rows = window_scores.shape[1];
  const int64_t size = window_scores.shape[2];
  const int64_t n_max = window_scores.shape[3];
  const float keep = kind == ScoreKind::kExp ? 0.5f : 1.0f;
  for (int64_t row = 0; row < window_scores.shape[0] * rows; ++row) {
    const int64_t begin = candidates.begin.As<int32_t>()[row / rows];
    const int64_t end = candidates.end.As<int32_t>()[row / rows];
    const float* from = window_scores.As<float>() + row * size * n_max;
    float* to = scores.As<float>() + row * n_max;
    for (int64_t j = begin; j < end; ++j) {
      float sum = 0.0f;
      for (int64_t age = size - 1; age >= 0; --age) sum = sum * keep + from[age * n_max + j];
      to[j] = sum;
    }
  }
}

}  // namespace tamis::cpu
