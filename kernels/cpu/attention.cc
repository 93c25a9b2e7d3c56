// SPDX-License-Identifier: Apache-2.0
// Prefill, decode and gathered attention: which tokens a row attends to, in chunks; the arithmetic
// is attend.h's for all of them. Prefill of a row equals decoding it bit for bit.
#include <algorithm>

#include "kernels/backends.h"
#include "kernels/check.h"
#include "kernels/cpu/attend_pages.h"

namespace tamis::cpu {
namespace {

constexpr int64_t kChunk = kAttentionChunkTokens;

// Row t attends to the first context - (tokens - 1 - t) tokens; chunks of four rows at a time skip
// what none of them sees.
void AttendCausally(AttentionBlock& block, const QueryRows& rows, const KvRows& kv,
                    const int32_t* blocks, int64_t kv_head, int64_t context, float scale) {
  constexpr int64_t kRowsAtOnce = 4;
  rows.Load(block);
  for (int64_t start = 0; start < context; start += kChunk) {
    const int64_t n = std::min(kChunk, context - start);
    PageOffsets(block.offsets(), kv, blocks, start, start + n);
    block.LoadChunk(HeadOf(kv, kv_head), n);
    for (int64_t begin = 0; begin < rows.rows(); begin += kRowsAtOnce) {
      const int64_t end = std::min(begin + kRowsAtOnce, rows.rows());
      for (int64_t r = begin; r < end; ++r) {
        const int64_t attended = context - (rows.tokens - 1 - r / rows.heads);
        block.limits()[r] = std::clamp<int64_t>(attended - start, 0, n);
      }
      block.ComputeLogits(scale, begin, end, block.limits()[end - 1]);
      block.Absorb(begin, end);
    }
  }
  rows.Store(block);
}

// What one sequence attends to under a selection: sinks, list, tail.
struct Attended {
  const int32_t* blocks;
  const int32_t* list_rows;
  int64_t sink_end;
  int64_t count;
  int64_t tail_begin;
  int64_t context;

  int64_t size() const { return sink_end + count + context - tail_begin; }
};

// Offsets of attended tokens [begin, end), counted along sinks, list, tail.
void AttendedOffsets(int64_t* offsets, const KvRows& rows, const Attended& attended, int64_t begin,
                     int64_t end) {
  const int64_t list_end = attended.sink_end + attended.count;
  const int64_t sinks = std::clamp(attended.sink_end, begin, end);
  const int64_t listed = std::clamp(list_end, begin, end);
  PageOffsets(offsets, rows, attended.blocks, begin, sinks);
  for (int64_t i = sinks; i < listed; ++i) {
    offsets[i - begin] = attended.list_rows[i - attended.sink_end] * rows.row_stride;
  }
  PageOffsets(offsets + (listed - begin), rows, attended.blocks,
              attended.tail_begin + listed - list_end, attended.tail_begin + end - list_end);
}

void AttendSelected(AttentionBlock& block, const QueryRows& rows, const KvRows& kv, int64_t kv_head,
                    const Attended& attended, float scale) {
  rows.Load(block);
  for (int64_t start = 0; start < attended.size(); start += kChunk) {
    const int64_t n = std::min(kChunk, attended.size() - start);
    AttendedOffsets(block.offsets(), kv, attended, start, start + n);
    block.LoadChunk(HeadOf(kv, kv_head), n);
    std::fill_n(block.limits(), rows.rows(), n);
    block.ComputeLogits(scale, 0, rows.rows(), n);
    block.Absorb(0, rows.rows());
  }
  rows.Store(block);
}

}  // namespace

void PrefillAttention(TensorView out, ConstTensorView q, const KvPages& pages,
                      const PrefillBatch& batch, float scale, Scratch& scratch, const Stream&) {
  const int64_t head_dim = pages.head_dim;
  const int64_t group = q.shape[1] / head_dim / pages.kv_heads_local;
  const int64_t tokens_at_once = std::max<int64_t>(1, kQueryRows / group);
  const KvRows rows = RowsOf(pages);
  const int32_t* starts = batch.query_starts.As<int32_t>();
  const int64_t blocks_max = batch.block_table.shape[1];
  const ScratchScope scope(scratch);
  AttentionBlock block(scratch, tokens_at_once * group, head_dim);
  for (int64_t s = 0; s < batch.context_lens.shape[0]; ++s) {
    const int64_t context = batch.context_lens.As<int32_t>()[s];
    const int64_t tokens = starts[s + 1] - starts[s];
    CHECK(tokens >= 0 && starts[s + 1] <= q.shape[0]) << "query_starts of sequence " << s;
    CHECK(tokens <= context && context <= blocks_max * pages.block_tokens)
        << "sequence " << s << ": " << tokens << " queries, context " << context;
    const int32_t* blocks = batch.block_table.As<int32_t>() + s * blocks_max;
    for (int64_t h = 0; h < pages.kv_heads_local; ++h) {
      for (int64_t t = 0; t < tokens; t += tokens_at_once) {
        const int64_t count = std::min(tokens_at_once, tokens - t);
        const QueryRows queries{q, out, starts[s] + t, count, h * group, group, head_dim};
        AttendCausally(block, queries, rows, blocks, h, context - (tokens - t - count), scale);
      }
    }
  }
}

void DecodeAttention(TensorView out, ConstTensorView q, const KvPages& pages,
                     const DecodeBatch& batch, float scale, Scratch& scratch, const Stream&) {
  const int64_t head_dim = pages.head_dim;
  const int64_t group = q.shape[1] / head_dim / pages.kv_heads_local;
  const KvRows rows = RowsOf(pages);
  const int64_t blocks_max = batch.block_table.shape[1];
  const ScratchScope scope(scratch);
  AttentionBlock block(scratch, group, head_dim);
  for (int64_t s = 0; s < q.shape[0]; ++s) {
    const int64_t context = batch.context_lens.As<int32_t>()[s];
    CHECK(context >= 0 && context <= blocks_max * pages.block_tokens)
        << "sequence " << s << ": context " << context;
    const int32_t* blocks = batch.block_table.As<int32_t>() + s * blocks_max;
    for (int64_t h = 0; h < pages.kv_heads_local; ++h) {
      const QueryRows queries{q, out, s, 1, h * group, group, head_dim};
      queries.Load(block);
      AttendPages(block, queries.rows(), rows, blocks, h, 0, context, scale);
      queries.Store(block);
    }
  }
}

void GatherAttention(TensorView out, ConstTensorView q, const KvRows& rows,
                     ConstTensorView list_rows, const SelectionView& selection,
                     const DecodeBatch& batch, float scale, Scratch& scratch, const Stream&) {
  const int64_t head_dim = rows.head_dim;
  const int64_t group = q.shape[1] / head_dim / rows.kv_heads_local;
  const int64_t selection_rows = list_rows.shape[1];
  const int64_t k_max = list_rows.shape[2];
  const int64_t blocks_max = batch.block_table.shape[1];
  const ScratchScope scope(scratch);
  AttentionBlock block(scratch, group, head_dim);
  for (int64_t s = 0; s < q.shape[0]; ++s) {
    Attended attended{};
    attended.context = batch.context_lens.As<int32_t>()[s];
    if (attended.context > 0) {  // padding rows have no selection
      attended.sink_end = selection.sink_end.As<int32_t>()[s];
      attended.count = selection.count.As<int32_t>()[s];
      attended.tail_begin = selection.tail_begin.As<int32_t>()[s];
    }
    CHECK(attended.context <= blocks_max * rows.block_tokens && attended.count >= 0 &&
          attended.count <= k_max && attended.sink_end >= 0 &&
          attended.sink_end + attended.count <= attended.tail_begin &&
          attended.tail_begin <= attended.context)
        << "sequence " << s << ": sinks to " << attended.sink_end << ", " << attended.count
        << " listed, tail from " << attended.tail_begin << " of " << attended.context;
    attended.blocks = batch.block_table.As<int32_t>() + s * blocks_max;
    for (int64_t h = 0; h < rows.kv_heads_local; ++h) {
      const int64_t list = s * selection_rows + (selection_rows > 1 ? h : 0);
      attended.list_rows = list_rows.As<int32_t>() + list * k_max;
      const QueryRows queries{q, out, s, 1, h * group, group, head_dim};
      AttendSelected(block, queries, rows, h, attended, scale);
    }
  }
}

}  // namespace tamis::cpu
