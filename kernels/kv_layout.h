// SPDX-License-Identifier: Apache-2.0
// How keys and values lie in memory, and how an op finds a token's row.
//
// One paged tensor per layer: [B, Nkv_local, K|V, P, D]. A row is one head's D elements of one
// token. Every layer group (the dense layers; each selection segment) has block tables of its own.
#pragma once

#include "kernels/tensor.h"

namespace tamis {

// The pages of one layer. `data` is [B, Nkv_local, 2, P, D], contiguous.
struct KvPages {
  void* data = nullptr;
  DType dtype = DType::kF32;
  DeviceKind device = DeviceKind::kCpu;
  int64_t num_blocks = 0;      // B
  int64_t kv_heads_local = 0;  // Nkv_local
  int64_t block_tokens = 0;    // P
  int64_t head_dim = 0;        // D

  // Elements from a token's key row to its value row.
  int64_t value_offset() const { return block_tokens * head_dim; }
  // Elements from one KV head to the next within a block.
  int64_t head_stride() const { return 2 * block_tokens * head_dim; }
  // Elements from one block to the next.
  int64_t block_stride() const { return kv_heads_local * head_stride(); }
  size_t bytes() const {
    return static_cast<size_t>(num_blocks * block_stride()) * DTypeBytes(dtype);
  }
};

// Rows addressed by id, whatever holds them. The key of row r and KV head h starts at element
// r * row_stride + h * head_stride of k_base, its value at the same offset of v_base.
//   pages:              row_stride D, head_stride 2*P*D, v_base = k_base + P*D,
//                       r = block * (2 * P * Nkv_local) + offset
//   host or row cache:  row_stride Nkv_local*layers*2*D, head_stride layers*2*D, v_base = k_base+D
struct KvRows {
  const void* k_base = nullptr;
  const void* v_base = nullptr;
  DType dtype = DType::kF32;
  DeviceKind device = DeviceKind::kCpu;
  int64_t row_stride = 0;      // elements
  int64_t head_stride = 0;     // elements
  int64_t kv_heads_local = 0;  // Nkv_local
  int64_t head_dim = 0;        // D
  // Of a token at `position`: r = block_table[position / block_tokens] * rows_per_block +
  // position % block_tokens. Used for the forced ranges of a selection.
  int64_t block_tokens = 0;    // P
  int64_t rows_per_block = 0;  // 2 * P * Nkv_local for pages
};

// The pages of a layer as rows.
inline KvRows RowsOf(const KvPages& pages) {
  KvRows rows;
  rows.k_base = pages.data;
  rows.v_base = static_cast<const std::byte*>(pages.data) +
                static_cast<size_t>(pages.value_offset()) * DTypeBytes(pages.dtype);
  rows.dtype = pages.dtype;
  rows.device = pages.device;
  rows.row_stride = pages.head_dim;
  rows.head_stride = pages.head_stride();
  rows.kv_heads_local = pages.kv_heads_local;
  rows.head_dim = pages.head_dim;
  rows.block_tokens = pages.block_tokens;
  rows.rows_per_block = 2 * pages.block_tokens * pages.kv_heads_local;
  return rows;
}

// Attention partials are formed over chunks of this many tokens, counted along the attended
// sequence, and combined in ascending order. Part of the numeric contract, not a tuning knob. On
// GPUs chunks are half, once, twice or four times as long, by the row's own length and the heads.
constexpr int64_t kAttentionChunkTokens = 512;

// One query token per sequence (decoding). Captured graphs keep the addresses; the contents
// change from step to step.
struct DecodeBatch {
  ConstTensorView context_lens;  // i32 [S] tokens to attend, the current one included; 0 = padding
  ConstTensorView block_table;   // i32 [S, blocks_max]
  int64_t context_len_max = 0;   // host-known upper bound of context_lens, for grids and buffers
  // Lengths, table, and the keys and values before each sequence's last token were complete before
  // the step's first kernel, so they may be read while the kernel in front still runs.
  bool history_settled = false;
};

// One or more query tokens per sequence (prefill chunks), causal within the sequence.
struct PrefillBatch {
  ConstTensorView query_starts;  // i32 [S + 1] first row of each sequence in q; the last is T
  ConstTensorView context_lens;  // i32 [S] tokens in the cache, this chunk included
  ConstTensorView block_table;   // i32 [S, blocks_max]
  int64_t query_len_max = 0;     // host-known upper bounds
  int64_t context_len_max = 0;
};

}  // namespace tamis
