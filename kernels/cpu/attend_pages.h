// SPDX-License-Identifier: Apache-2.0
// Between the attention ops and AttentionBlock: which elements of q, out and the KV rows a block of
// query rows reads and writes.
#pragma once

#include "kernels/cpu/attend.h"
#include "kernels/kv_layout.h"
#include "kernels/tensor.h"

namespace tamis::cpu {

// The query rows of one KV head: `heads` query heads of each of `tokens` tokens.
struct QueryRows {
  ConstTensorView q;  // [T, Nq_local * D]
  TensorView out;     // [T, Nq_local * D]
  int64_t first_token;
  int64_t tokens;
  int64_t first_head;
  int64_t heads;
  int64_t head_dim;

  int64_t rows() const { return tokens * heads; }
  // Resets the block and hands it the queries.
  void Load(AttentionBlock& block) const;
  void Store(const AttentionBlock& block) const;

 private:
  int64_t Element(int64_t row, int64_t row_stride) const {
    return (first_token + row / heads) * row_stride + (first_head + row % heads) * head_dim;
  }
};

// The rows of one KV head.
ChunkSource HeadOf(const KvRows& kv, int64_t kv_head);

// Element offsets of the tokens at positions [begin, end) through a sequence's block table.
void PageOffsets(int64_t* offsets, const KvRows& kv, const int32_t* blocks, int64_t begin,
                 int64_t end);

// All `rows` of the block attend to the tokens at [begin, end), in chunks counted from begin.
void AttendPages(AttentionBlock& block, int64_t rows, const KvRows& kv, const int32_t* blocks,
                 int64_t kv_head, int64_t begin, int64_t end, float scale);

}  // namespace tamis::cpu
