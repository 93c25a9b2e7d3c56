// SPDX-License-Identifier: Apache-2.0
// What the forms of PrefillAttention are told, private to kernels/cuda.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/tensor.h"

namespace tamis::cuda {

struct PrefillParams {
  const void* q = nullptr;  // [T, Nq_local * D], rows q_stride elements apart
  void* out = nullptr;      // [T, Nq_local * D]
  int64_t q_stride = 0;
  const void* k_base = nullptr;  // as in KvRows
  const void* v_base = nullptr;
  int64_t row_stride = 0;
  int64_t head_stride = 0;
  const int32_t* query_starts = nullptr;  // [S + 1]
  const int32_t* context_lens = nullptr;  // [S]
  const int32_t* block_table = nullptr;   // [S, blocks_max]
  int blocks_max = 0;
  int block_tokens = 0;
  int block_shift = -1;  // log2(block_tokens) if that is whole
  int rows_per_block = 0;
  int sequences = 0;       // S
  int q_heads = 0;         // Nq_local
  int group = 0;           // Nq_local / Nkv_local
  int head_dim = 0;        // D
  int64_t query_rows = 0;  // T
  int64_t page_rows = 0;   // of all pages together: B * Nkv_local * 2 * P
  int64_t query_len_max = 0;
  float scale = 0;
};

// Hopper: 16-bit floats, head sizes 64 and 128, blocks of a power of two of at least 8 tokens.
bool FitsWgmmaPrefill(const PrefillParams& params, DType dtype);
void WgmmaPrefillAttention(const PrefillParams& params, DType dtype, const Stream& stream);

// 16-bit floats, head sizes 64, 80, 96 and 128; false for all others. Like the form above it wants
// addresses and row strides that are multiples of 16 bytes.
bool MmaPrefillAttention(const PrefillParams& params, DType dtype, const Stream& stream);

// Any storage type and head size; correct, not fast.
void ScalarPrefillAttention(const PrefillParams& params, DType dtype, const Stream& stream);

}  // namespace tamis::cuda
