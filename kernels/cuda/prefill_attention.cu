// SPDX-License-Identifier: Apache-2.0
// PrefillAttention: chooses the form that fits the device, the storage type and the shapes. The
// choice does not depend on what is in the batch.
#include <bit>

#include "kernels/backends.h"
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/prefill_attention.h"

namespace tamis::cuda {

void PrefillAttention(TensorView out, ConstTensorView q, const KvPages& pages,
                      const PrefillBatch& batch, float scale, Scratch&, const Stream& stream) {
  if (out.empty()) return;
  const KvRows rows = RowsOf(pages);
  PrefillParams p;
  p.q = q.data;
  p.out = out.data;
  p.q_stride = q.row_stride;
  p.k_base = rows.k_base;
  p.v_base = rows.v_base;
  p.row_stride = rows.row_stride;
  p.head_stride = rows.head_stride;
  p.query_starts = batch.query_starts.As<int32_t>();
  p.context_lens = batch.context_lens.As<int32_t>();
  p.block_table = batch.block_table.As<int32_t>();
  p.blocks_max = static_cast<int>(batch.block_table.shape[1]);
  p.block_tokens = static_cast<int>(rows.block_tokens);
  p.block_shift = std::has_single_bit(static_cast<unsigned>(p.block_tokens))
                      ? std::countr_zero(static_cast<unsigned>(p.block_tokens))
                      : -1;
  p.rows_per_block = static_cast<int>(rows.rows_per_block);
  p.sequences = static_cast<int>(batch.context_lens.shape[0]);
  p.head_dim = static_cast<int>(pages.head_dim);
  p.q_heads = static_cast<int>(q.shape[1] / pages.head_dim);
  p.group = p.q_heads / static_cast<int>(pages.kv_heads_local);
  p.query_rows = q.shape[0];
  p.page_rows = pages.num_blocks * pages.kv_heads_local * 2 * pages.block_tokens;
  p.query_len_max = batch.query_len_max;
  p.scale = scale;
  const bool aligned = Aligned16(p.q) && Aligned16(p.k_base) && Aligned16(p.v_base) &&
                       Aligned16(p.out) && p.q_stride % 8 == 0;
  if (aligned && FitsWgmmaPrefill(p, q.dtype)) return WgmmaPrefillAttention(p, q.dtype, stream);
  if (aligned && MmaPrefillAttention(p, q.dtype, stream)) return;
  ScalarPrefillAttention(p, q.dtype, stream);
}

}  // namespace tamis::cuda
