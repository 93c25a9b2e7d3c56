// SPDX-License-Identifier: Apache-2.0
// Attention of one query per sequence, shared by DecodeAttention, FilterAttention and
// GatherAttention: partials over chunks of attended tokens (here), combined in a fixed order
// (combine_partials.cu). Only how an attended token's row is found differs.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/split_items.h"
#include "kernels/kv_layout.h"
#include "kernels/scratch.h"
#include "kernels/tensor.h"

namespace tamis::cuda {

// What a call also stores while it reads the keys. Positions are those of the attended sequence.
enum class ScoreOutput {
  kNone,
  kMaxKey,   // the maximum over heads of the candidates' logits, as order keys that were zero
             // before: keys [S, Hs, n_max]
  kPerHead,  // every head's logits: scores [S, Nq_local, n_max], n_max even
};

struct SplitParams : SplitShape {
  const void* q = nullptr;  // [S, Nq_local * D], rows q_stride elements apart
  int64_t q_stride = 0;
  // As in KvRows.
  const void* k_base = nullptr;
  const void* v_base = nullptr;
  int64_t row_stride = 0;
  int64_t head_stride = 0;
  int block_tokens = 0;
  int rows_per_block = 0;
  const int32_t* block_table = nullptr;   // [S, blocks_max]
  const int32_t* context_lens = nullptr;  // [S]
  int blocks_max = 0;
  bool history_settled = false;  // as in DecodeBatch; false where the tokens are listed
  // The selection; without one (count is null) the whole context is attended.
  const int32_t* list_rows = nullptr;   // [S, Hs, k_max]
  const int32_t* count = nullptr;       // [S]
  const int32_t* sink_end = nullptr;    // [S]
  const int32_t* tail_begin = nullptr;  // [S]
  int list_heads = 1;                   // Hs
  int k_max = 0;
  // Results.
  void* out = nullptr;      // [S, Nq_local * D]
  float* lse = nullptr;     // [S, Nq_local] natural units, or null
  float* sums = nullptr;    // [S, Nq_local, chunks_max, D] weighted values
  float2* stats = nullptr;  // [S, Nq_local, chunks_max] (maximum in units of log2, sum of weights)
  float* scores = nullptr;  // see ScoreOutput
  uint32_t* keys = nullptr;
  const int32_t* score_begin = nullptr;  // [S] candidates of kMaxKey
  const int32_t* score_end = nullptr;    // [S]
  int score_heads = 1;                   // Hs
  int64_t n_max = 0;
  ScoreOutput score_output = ScoreOutput::kNone;
  bool keys_only = false;  // scores and stats, no attention: values are not read (tensor cores)

  // Zero between calls.
  int32_t* next_item = nullptr;  // counts chunks handed out; the next launch zeroes it again
  int head_dim = 0;              // D
  int chunks_max = 0;
  float scale = 0;

  // Set by SplitAttention: tiles of 16 tokens are runs of memory in blocks of 2^block_shift tokens.
  bool whole_tiles = false;
  int block_shift = 0;
};

constexpr float kLog2E = 1.44269504088896340736f;

// Tokens that sequence s attends to; 0 for padding.
__device__ __forceinline__ int AttendedTokens(const SplitParams& p, int s) {
  const int context = p.context_lens[s];
  if (p.count == nullptr || context <= 0) return context;
  return p.sink_end[s] + p.count[s] + context - p.tail_begin[s];
}

// The row of attended token i of sequence s under a KV head.
__device__ __forceinline__ int AttendedRow(const SplitParams& p, int s, int kv_head, int i) {
  int position = i;
  if (p.count != nullptr) {
    const int sinks = p.sink_end[s];
    const int listed = p.count[s];
    if (i >= sinks && i < sinks + listed) {
      const int list = p.list_heads == 1 ? s : s * p.list_heads + kv_head;
      return p.list_rows[int64_t{list} * p.k_max + i - sinks];
    }
    if (i >= sinks) position = p.tail_begin[s] + i - sinks - listed;
  }
  const int block = p.block_table[int64_t{s} * p.blocks_max + position / p.block_tokens];
  return block * p.rows_per_block + position % p.block_tokens;
}

// Fills what all attention forms share and takes the partials from scratch.
SplitParams MakeSplitParams(const TensorView& out, const ConstTensorView& q, const KvRows& rows,
                            const DecodeBatch& batch, float scale, Scratch& scratch);

// out = attention; lse if not null. Padding rows give zeros.
void SplitAttention(SplitParams params, DType dtype, const Stream& stream);

// The second launch of SplitAttention.
void CombinePartials(const SplitParams& params, DType dtype, const Stream& stream);

}  // namespace tamis::cuda
