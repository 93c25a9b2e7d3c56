// SPDX-License-Identifier: Apache-2.0
// THE interface of the kernels. Free functions: outputs first, inputs, scalars, scratch, stream
// last. The tensor says where it lives; ops.cc checks shapes once and switches on the device to
// cpu:: (the specification, kernels/cpu) or cuda:: (kernels/cuda).
//
// Every op: never allocates, never synchronises, keeps no state, writes its whole output unless it
// says otherwise, accumulates in float32. Sizes that change from step to step under a captured
// graph are read from device tensors; rows past them are padding and are said to be so.
// "float" below is any of f32, f16, bf16; all float arguments of a call share one dtype unless
// said otherwise. Symbols: kernels/README.md.
#pragma once

#include "kernels/kv_layout.h"
#include "kernels/scratch.h"
#include "kernels/selection.h"
#include "kernels/tensor.h"

namespace tamis::ops {

// ---- tokens ------------------------------------------------------------------------------------

// out[t] = from_slot[t] >= 0 ? slot_tokens[from_slot[t]] : token_ids[t]. Lets a step read what the
// step before sampled without the host having seen it.
void ResolveTokens(TensorView out,               // i32 [T]
                   ConstTensorView token_ids,    // i32 [T]
                   ConstTensorView from_slot,    // i32 [T], -1 = use token_ids
                   ConstTensorView slot_tokens,  // i32 [max_num_seqs]
                   const Stream& stream);

// slot_tokens[slots[s]] = tokens[s]; slots[s] < 0 writes nothing. Other entries stay.
void StoreSlotTokens(TensorView slot_tokens,  // i32 [max_num_seqs]
                     ConstTensorView slots,   // i32 [S]
                     ConstTensorView tokens,  // i32 [S]
                     const Stream& stream);

// out[t] = table[ids[t] - vocab_begin] where that row is held here, else zeros (a sum over ranks
// completes it).
void Embedding(TensorView out,             // float [T, H]
               ConstTensorView table,      // float [V_local, H]
               ConstTensorView token_ids,  // i32 [T]
               int64_t vocab_begin, const Stream& stream);

// out[s] = x[rows[s]]. rows[s] < 0 gives zeros.
void GatherRows(TensorView out,        // float [S, H]
                ConstTensorView x,     // float [T, H]
                ConstTensorView rows,  // i32 [S]
                const Stream& stream);

// ---- elementwise -------------------------------------------------------------------------------

// out = x / sqrt(mean(x^2) + eps) * weight, row-wise. out may alias x.
void RmsNorm(TensorView out,          // float [T, H]
             ConstTensorView x,       // float [T, H]
             ConstTensorView weight,  // float [H]
             float eps, const Stream& stream);

// residual += x, rounded to its dtype; out = RmsNorm(residual). out may alias x.
void AddRmsNorm(TensorView out,          // float [T, H]
                TensorView residual,     // float [T, H]
                ConstTensorView x,       // float [T, H]
                ConstTensorView weight,  // float [H]
                float eps, const Stream& stream);

// out = silu(gate) * up, silu(v) = v / (1 + exp(-v)).
void SiluMul(TensorView out,           // float [T, F_local]
             ConstTensorView gate_up,  // float [T, 2 * F_local], gate first
             const Stream& stream);

// out[r][c] = mean + reach * u, u uniform in (-1, 1) from Philox (philox.h) under `key`, counter
// (row_begin + r, (column_begin + c) / 4), word (column_begin + c) % 4: a slice of a tensor
// has its slice of the values, the same bits on every backend. For dummy weights and benchmarks.
void FillRandom(TensorView out,  // float [R, C]
                uint64_t key, int64_t row_begin, int64_t column_begin, float mean, float reach,
                const Stream& stream);

// ---- products ----------------------------------------------------------------------------------

// out = a * weight^T. out is a's dtype, or f32 (logits). a and out may have row strides (slices of
// the vocabulary are written side by side into rows padded to the widest).
void MatMul(TensorView out,          // [M, N]
            ConstTensorView a,       // float [M, K]
            ConstTensorView weight,  // float [N, K]
            Scratch& scratch, const Stream& stream);

// out = SiluMul(MatMul(a, weight)), both halves of the product rounded to their dtype in between.
// One kernel where that is faster.
void MatMulSiluMul(TensorView out,          // float [M, F_local]
                   TensorView gate_up,      // float [M, 2 * F_local], work space: left undefined
                   ConstTensorView a,       // float [M, K]
                   ConstTensorView weight,  // float [2 * F_local, K], gate first
                   Scratch& scratch, const Stream& stream);

// ---- attention ---------------------------------------------------------------------------------

// Rotates the query and key heads of qkv in place (rotate-half pairing: element i with i + D/2,
// angle positions[t] * inv_freq[i], all in float32) and stores keys and values into the pages.
void RopeAndStoreKv(TensorView qkv,               // float [T, (Nq_local + 2 * Nkv_local) * D]
                    const KvPages& pages,         // same dtype as qkv
                    ConstTensorView positions,    // i32 [T]
                    ConstTensorView token_slots,  // i32 [T] block * P + offset; -1 = padding
                    ConstTensorView inv_freq,     // f32 [D / 2]
                    int64_t q_heads_local, const Stream& stream);

// RopeAndStoreKv of qkv = MatMul(a, weight), the product rounded to its dtype in between; of qkv,
// only the query heads are defined afterwards. One kernel where that is faster.
void MatMulRopeAndStoreKv(TensorView qkv,          // float [T, (Nq_local + 2 * Nkv_local) * D]
                          ConstTensorView a,       // float [T, K]
                          ConstTensorView weight,  // float [(Nq_local + 2 * Nkv_local) * D, K]
                          const KvPages& pages, ConstTensorView positions,
                          ConstTensorView token_slots, ConstTensorView inv_freq,
                          int64_t q_heads_local, Scratch& scratch, const Stream& stream);

// Causal attention of prefill chunks over the paged context. Row t of sequence s attends to its
// first context_lens[s] - (query_starts[s + 1] - 1 - t) tokens; its bits depend on them and on its
// query alone (on CPUs they equal DecodeAttention's). scale = 1/sqrt(D) everywhere in this file.
void PrefillAttention(TensorView out,     // float [T, Nq_local * D]
                      ConstTensorView q,  // float [T, Nq_local * D], may have a row stride
                      const KvPages& pages, const PrefillBatch& batch, float scale,
                      Scratch& scratch, const Stream& stream);

// Attention of one query per sequence over its whole context: float32 partials (max, sum,
// accumulator) over chunks of kAttentionChunkTokens, combined in ascending order, so that a row's
// result does not depend on the rest of the batch. Padding rows (context 0) give zeros.
void DecodeAttention(TensorView out,     // float [S, Nq_local * D]
                     ConstTensorView q,  // float [S, Nq_local * D], may have a row stride
                     const KvPages& pages, const DecodeBatch& batch, float scale, Scratch& scratch,
                     const Stream& stream);

// Which tokens the softmax denominators of FilterAttention's scores run over.
enum class LseScope : uint8_t { kAll, kCandidates };

// DecodeAttention that also scores the candidates (selection.h). Scores at positions outside
// [begin, end) are left undefined. For kRawMax and kSoftmaxMax the score is the maximum over this
// rank's heads; for kSoftmaxMean it is the SUM over this rank's heads (the caller sums over ranks
// and divides). Hs = 1: over all local heads; Hs = Nkv_local: over the heads of each KV group.
void FilterAttention(TensorView out,     // float [S, Nq_local * D]; equals DecodeAttention's
                     TensorView scores,  // f32 [S, Hs, n_max], n_max >= batch.context_len_max
                     ConstTensorView q,  // float [S, Nq_local * D], may have a row stride
                     const KvPages& pages, const DecodeBatch& batch,
                     const CandidateView& candidates, ScoreKind kind, LseScope lse_scope,
                     float scale, Scratch& scratch, const Stream& stream);

// Attention of one query per sequence over its selection. The attended sequence is sinks, list,
// tail; partials over its chunks as in DecodeAttention. KV head h uses selection row h (Hs > 1)
// or row 0. `list_rows` are the row ids of selection.positions (RowsOfPositions for pages).
// batch.block_table and rows.block_tokens address the forced ranges.
void GatherAttention(TensorView out,     // float [S, Nq_local * D]
                     ConstTensorView q,  // float [S, Nq_local * D], may have a row stride
                     const KvRows& rows,
                     ConstTensorView list_rows,  // i32 [S, Hs, k_max]
                     const SelectionView& selection, const DecodeBatch& batch, float scale,
                     Scratch& scratch, const Stream& stream);

// ---- selection ---------------------------------------------------------------------------------

// The k first candidates of each row in the order of order_key.h. Entries at and after
// count[s] = min(k, end - begin) hold position -1 and score -inf, so that lists can be gathered
// at fixed size.
void TopK(TensorView positions,    // i32 [S, Hs, k_max] ascending positions
          TensorView top_scores,   // f32 [S, Hs, k_max] in the same order; -0 as +0
          TensorView count,        // i32 [S]
          ConstTensorView scores,  // f32 [S, Hs, n_max]
          const CandidateView& candidates, Scratch& scratch, const Stream& stream);

// Merges the ranks' lists of one selection row by maximum score per position and takes the first
// min(k, end - begin) again. Every rank's entry for a position counts; -1 entries are skipped.
void MergeTopK(TensorView positions,            // i32 [S, Hs, k_max] ascending
               TensorView count,                // i32 [S]
               ConstTensorView list_positions,  // i32 [W, S * Hs * k_max]
               ConstTensorView list_scores,     // f32 [W, S * Hs * k_max]
               const CandidateView& candidates, Scratch& scratch, const Stream& stream);

// Row ids of listed positions: rows[s, h, i] = block_table[s, p / P] * rows_per_block + p % P with
// p = positions[s, h, i]; entries at and after count[s] are 0.
void RowsOfPositions(TensorView list_rows,  // i32 [S, Hs, k_max]
                     const SelectionView& selection,
                     ConstTensorView block_table,  // i32 [S, blocks_max]
                     int64_t block_tokens, int64_t rows_per_block, const Stream& stream);

// ---- sampling ----------------------------------------------------------------------------------

// out[s, offsets[w] + v] = gathered[w, s, v]: the vocabulary slices of all ranks side by side.
// offsets[W] = V; slices are padded to V_pad.
void ConcatVocab(TensorView out,            // f32 [S, V]
                 ConstTensorView gathered,  // f32 [W, S, V_pad]
                 ConstTensorView offsets,   // i32 [W + 1]
                 const Stream& stream);

// One row of parameters per sequence. Off: temperature 0 (greedy), top_k 0, top_p 1, min_p 0.
struct SampleParams {
  ConstTensorView temperature;  // f32 [S]
  ConstTensorView top_k;        // i32 [S]
  ConstTensorView top_p;        // f32 [S]
  ConstTensorView min_p;        // f32 [S]
  ConstTensorView seed;         // u64 [S]
  ConstTensorView position;     // i32 [S] index of the sampled token in its sequence
};

// Greedy: the first token in order_key.h's order. Otherwise, on logits / temperature: min_p keeps
// tokens of probability >= min_p * the largest; then top_k keeps the k first; then top_p the
// shortest prefix, in that order, whose probability (renormalised) reaches p. Among those kept the
// token of the largest logit + Gumbel noise wins (exactly the softmax distribution); noise of token
// v is -log(-log(u)), u = UniformOpen(word v % 4 of Philox(seed, v / 4, position)).
// logprobs are log-softmax of the unmodified logits. N may be 0.
void Sample(TensorView tokens,        // i32 [S]
            TensorView logprobs,      // f32 [S]
            TensorView top_tokens,    // i32 [S, N] the N most likely, in order
            TensorView top_logprobs,  // f32 [S, N]
            ConstTensorView logits,   // f32 [S, V]
            const SampleParams& params, Scratch& scratch, const Stream& stream);

}  // namespace tamis::ops
