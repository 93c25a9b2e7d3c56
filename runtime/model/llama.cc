// SPDX-License-Identifier: Apache-2.0
// The forward pass as a list of ops. Between the parts of a layer stand its two all-reduces; each
// is fused in one call with the residual addition and the norm that follow it.
#include "runtime/model/llama.h"

#include <cmath>

#include "kernels/ops.h"

namespace tamis {
namespace {

// This step's rows of the activations, which are sized for the largest step.
struct StepRows {
  TensorView residual;  // [T, H]
  TensorView normed;    // [T, H]
  TensorView qkv;       // [T, (Nq_local + 2 * Nkv_local) * D]
  TensorView attn;      // [T, Nq_local * D]
  TensorView partial;   // [T, H]
  TensorView gate_up;   // [T, 2 * F_local]
  TensorView ffn;       // [T, F_local]
};

StepRows RowsOfStep(const Activations& act, int64_t num_tokens) {
  const auto rows = [num_tokens](const TensorView& x) { return Rows(x, 0, num_tokens); };
  return {rows(act.residual), rows(act.normed),  rows(act.qkv), rows(act.attn),
          rows(act.partial),  rows(act.gate_up), rows(act.ffn)};
}

// x.residual = the embeddings of the step's tokens. Every rank holds a slice of the vocabulary and
// contributes zeros for the rest.
void Embed(const LlamaContext& c, const StepInputs& inputs, const StepRows& x) {
  const TensorView token_ids = Rows(c.act.token_ids, 0, inputs.num_tokens);
  ops::ResolveTokens(token_ids, inputs.token_ids, inputs.from_slot, c.act.slot_tokens, c.stream);
  ops::Embedding(x.residual, c.weights.embedding, token_ids, c.shard.vocab.begin, c.stream);
  c.collectives.AllReduce(x.residual, ReduceOp::kSum, c.stream);
}

// Attention of the decoding rows: dense, scored by a filter layer, or over the latest selection.
void DecodePart(const LlamaContext& c, const StepInputs& inputs, int64_t layer_idx, TensorView out,
                ConstTensorView q, float scale) {
  const size_t layer = static_cast<size_t>(layer_idx);
  const int group = c.kv.groups().group_of_layer[layer];
  const KvPages& pages = c.kv.layer(layer_idx);
  const DecodeBatch batch = DecodeBatchOf(inputs, group);
  const bool selects = c.layers != nullptr && inputs.selection.k_max > 0;
  switch (selects ? c.layers->roles[layer] : LayerRole::kDense) {
    case LayerRole::kDense:
      ops::DecodeAttention(out, q, pages, batch, scale, c.scratch, c.stream);
      break;
    case LayerRole::kFilter: FilterLayer(c, inputs, layer_idx, out, q, scale); break;
    case LayerRole::kSparse: SparseLayer(c, inputs, layer_idx, out, q, scale); break;
  }
}

// x.partial = this rank's heads' part of the attention block's output, from x.normed.
void AttentionPart(const LlamaContext& c, const StepInputs& inputs, int64_t layer_idx,
                   const StepRows& x) {
  const size_t layer = static_cast<size_t>(layer_idx);
  const LayerWeights& weights = c.weights.layers[layer];
  const KvPages& pages = c.kv.layer(layer_idx);
  const int group_idx = c.kv.groups().group_of_layer[layer];
  const StepInputs::Group& group = inputs.groups[static_cast<size_t>(group_idx)];
  const int64_t q_heads_local = c.shard.heads.q_heads.count;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.config.head_dim));

  // 1. Queries, keys and values of this rank's heads; keys and values go into the cache.
  ops::MatMulRopeAndStoreKv(x.qkv, x.normed, weights.qkv, pages, inputs.positions,
                            group.token_slots, c.act.inv_freq, q_heads_local, c.scratch, c.stream);
  const TensorView q = Columns(x.qkv, 0, q_heads_local * c.config.head_dim);  // [T, Nq_local * D]
  KeepWindowQueries(c, inputs, layer_idx, q);

  // 2. Decoding rows come first, one per sequence.
  const int64_t num_decode = inputs.num_decode_seqs;
  if (num_decode > 0) {
    DecodePart(c, inputs, layer_idx, Rows(x.attn, 0, num_decode), Rows(q, 0, num_decode), scale);
  }

  // 3. Prefill chunks after them.
  if (inputs.num_prefill_seqs > 0) {
    const int64_t num_prefill_rows = inputs.num_tokens - num_decode;
    const PrefillBatch batch{inputs.prefill_query_starts, inputs.prefill_context_lens,
                             group.prefill_block_table, inputs.prefill_query_len_max,
                             inputs.prefill_context_len_max};
    ops::PrefillAttention(Rows(x.attn, num_decode, num_prefill_rows),
                          Rows(q, num_decode, num_prefill_rows), pages, batch, scale, c.scratch,
                          c.stream);
  }

  // 4. Back to the hidden size: a sum over this rank's heads only.
  ops::MatMul(x.partial, x.attn, weights.o, c.scratch, c.stream);
}

// x.partial = this rank's rows' part of the feed-forward block's output, from x.normed.
void FfnPart(const LlamaContext& c, const LayerWeights& weights, const StepRows& x) {
  ops::MatMulSiluMul(x.ffn, x.gate_up, x.normed, weights.gate_up, c.scratch, c.stream);
  ops::MatMul(x.partial, x.ffn, weights.down, c.scratch, c.stream);
}

// act.logits = the whole vocabulary's logits of the wanted rows, from the finally normed hidden
// states. Ranks hold slices of unequal width, so the gather is padded to the widest.
void Logits(const LlamaContext& c, const StepInputs& inputs, const TensorView& final_hidden) {
  const int64_t num_rows = inputs.num_logit_rows;
  const int64_t num_ranks = c.shard.size;
  const int64_t vocab_pad = c.shard.vocab_local_max;
  const TensorView hidden = Rows(c.act.last_hidden, 0, num_rows);  // [S, H]
  const TensorView logits = Rows(c.act.logits, 0, num_rows);       // [S, V]
  ops::GatherRows(hidden, final_hidden, inputs.logit_rows, c.stream);
  if (num_ranks == 1) return ops::MatMul(logits, hidden, c.weights.lm_head, c.scratch, c.stream);

  const TensorView logits_local = Rows(c.act.logits_local, 0, num_rows);  // [S, V_pad]
  const TensorView slices = Reshape(c.act.logits_all, {c.act.logits_all.elements() / vocab_pad,
                                                       vocab_pad});  // [W * S_max, V_pad]
  const TensorView logits_all =
      Reshape(Rows(slices, 0, num_ranks * num_rows), {num_ranks, num_rows, vocab_pad});

  ops::MatMul(Columns(logits_local, 0, c.shard.vocab.count), hidden, c.weights.lm_head, c.scratch,
              c.stream);
  c.collectives.AllGather(logits_all, logits_local, c.stream);
  ops::ConcatVocab(logits, logits_all, c.act.vocab_offsets, c.stream);
}

}  // namespace

void Forward(const LlamaContext& c, const StepInputs& inputs) {
  CHECK_EQ(inputs.groups.size(), static_cast<size_t>(c.kv.groups().num_groups));
  CHECK(c.layers != nullptr || inputs.selection.k_max == 0) << "no layer selects";
  const StepRows x = RowsOfStep(c.act, inputs.num_tokens);
  const std::vector<LayerWeights>& layers = c.weights.layers;
  const float eps = c.config.norm_eps;

  // 1. Token ids to hidden states, and the first layer's norm.
  Embed(c, inputs, x);
  ops::RmsNorm(x.normed, x.residual, layers.front().attn_norm, eps, c.stream);

  for (int64_t layer_idx = 0; layer_idx < c.config.num_layers; ++layer_idx) {
    const size_t layer = static_cast<size_t>(layer_idx);
    const bool last = layer + 1 == layers.size();
    const TensorView& next_norm = last ? c.weights.final_norm : layers[layer + 1].attn_norm;

    // 2. Attention; its output joins the residual and is normed for the feed-forward block.
    AttentionPart(c, inputs, layer_idx, x);
    c.collectives.AllReduceAddRmsNorm(x.normed, x.residual, x.partial, layers[layer].ffn_norm, eps,
                                      c.stream);

    // 3. Feed-forward; its output joins the residual and is normed for what comes next.
    FfnPart(c, layers[layer], x);
    c.collectives.AllReduceAddRmsNorm(x.normed, x.residual, x.partial, next_norm, eps, c.stream);
  }

  // 4. Logits of the rows that will be sampled; chunks before a prompt's last want none.
  if (inputs.num_logit_rows > 0) Logits(c, inputs, x.normed);
}

}  // namespace tamis
