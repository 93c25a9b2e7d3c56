// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attend_pages.h"

#include <algorithm>

namespace tamis::cpu {
namespace {

const std::byte* At(const void* base, int64_t element, DType dtype) {
  return static_cast<const std::byte*>(base) + element * static_cast<int64_t>(DTypeBytes(dtype));
}

}  // namespace

void QueryRows::Load(AttentionBlock& block) const {
  block.Reset(rows());
  for (int64_t r = 0; r < rows(); ++r) {
    block.SetQuery(r, At(q.data, Element(r, q.row_stride), q.dtype), q.dtype);
  }
}

void QueryRows::Store(const AttentionBlock& block) const {
  for (int64_t r = 0; r < rows(); ++r) {
    block.Finish(r,
                 static_cast<std::byte*>(out.data) +
                     Element(r, out.row_stride) * static_cast<int64_t>(DTypeBytes(out.dtype)),
                 out.dtype);
  }
}

ChunkSource HeadOf(const KvRows& kv, int64_t kv_head) {
  return {At(kv.k_base, kv_head * kv.head_stride, kv.dtype),
          At(kv.v_base, kv_head * kv.head_stride, kv.dtype), kv.dtype};
}

void PageOffsets(int64_t* offsets, const KvRows& kv, const int32_t* blocks, int64_t begin,
                 int64_t end) {
  for (int64_t p = begin; p < end; ++p) {
    const int64_t row = blocks[p / kv.block_tokens] * kv.rows_per_block + p % kv.block_tokens;
    *offsets++ = row * kv.row_stride;
  }
}

void AttendPages(AttentionBlock& block, int64_t rows, const KvRows& kv, const int32_t* blocks,
                 int64_t kv_head, int64_t begin, int64_t end, float scale) {
  for (int64_t start = begin; start < end; start += kAttentionChunkTokens) {
    const int64_t n = std::min(kAttentionChunkTokens, end - start);
    PageOffsets(block.offsets(), kv, blocks, start, start + n);
    block.LoadChunk(HeadOf(kv, kv_head), n);
    std::fill_n(block.limits(), rows, n);
    block.ComputeLogits(scale, 0, rows, n);
    block.Absorb(0, rows);
  }
}

}  // namespace tamis::cpu
