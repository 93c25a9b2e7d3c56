// SPDX-License-Identifier: Apache-2.0
// Maxima need lists only: a token of the common set is on the list of the rank whose head scores it
// best, because all lists and the merge use one strict order. Sums need the whole score vectors.
#include "runtime/model/select.h"

#include <algorithm>

#include "kernels/filter_scores.h"
#include "kernels/window_ops.h"
#include "parallel/top_k_exchange.h"
#include "runtime/model/llama.h"

namespace tamis {
namespace {

constexpr int64_t kBucketMin = 64;

// The first elements of a buffer under another shape; an unused buffer stays so.
TensorView Front(const TensorView& x, Shape shape) {
  if (x.data == nullptr) return {};
  CHECK_LE(shape.elements(), x.elements()) << "a step's selection exceeds its buffers";
  return TensorView(x.data, shape, x.dtype, x.device);
}

void Copy(const TensorView& to, const TensorView& from, const Stream& stream) {
  CHECK_EQ(to.bytes(), from.bytes());
  CopyBytes(to.data, to.device, from.data, from.device, from.bytes(), stream);
}

// vectors = their sum or maximum over the ranks that hold the same KV head. All ranks walk through
// all heads together, because a collective takes every rank; zeros change neither a sum nor a
// maximum of probabilities.
void ReduceByHead(const TensorView& vectors, ReduceOp op, const SelectionActivations& step,
                  const SelectionPeers& peers, Collectives& collectives, const Stream& stream) {
  for (int64_t head = 0; head < peers.num_kv_heads; ++head) {
    const bool mine = head == peers.kv_head;
    Copy(step.head_scores, mine ? vectors : step.zeros, stream);
    collectives.AllReduce(step.head_scores, op, stream);
    if (mine) Copy(vectors, step.head_scores, stream);
  }
}

// step.scores as far as lists do not carry them: sums over ranks, and what a window's queries make.
void CompleteScores(const SelectionActivations& step, const CandidateView& candidates,
                    const SelectionPeers& peers, Collectives& collectives, const Stream& stream) {
  const bool window = IsWindowScore(peers.score);
  // Of a window each query's maximum over heads is completed before queries are added.
  const TensorView& vectors = window ? step.window_scores : step.scores;
  const ReduceOp op = window ? ReduceOp::kMax : ReduceOp::kSum;
  if (peers.exchange == SelectionExchange::kScores) collectives.AllReduce(vectors, op, stream);
  if (peers.exchange == SelectionExchange::kScoresByHead) {
    ReduceByHead(vectors, op, step, peers, collectives, stream);
  }
  if (window) ops::SumWindowScores(step.scores, vectors, candidates, peers.score, stream);
}

// The window of one filter layer: [max_num_seqs, W, Nq_local * D].
TensorView WindowOf(const LlamaContext& c, int64_t layer_idx) {
  const TensorView& all = c.act.selection.window_queries;
  const int64_t num_slots = c.act.slot_tokens.shape[0];
  const int64_t filter = c.layers->segment_group[static_cast<size_t>(layer_idx)] - 1;
  return Rows(all, filter * num_slots, num_slots);
}

int64_t ScoreLen(const StepInputs& inputs) {
  return std::max<int64_t>(1, inputs.decode_context_len_max);
}

SelectionActivations StepOf(const LlamaContext& c, const StepInputs& inputs) {
  return SelectionOfStep(c.act.selection, inputs.num_decode_seqs, ScoreLen(inputs),
                         inputs.selection.k_max);
}

SelectionView ViewOf(const SelectionActivations& step, const StepInputs& inputs) {
  return {step.positions, step.count, inputs.selection.sink_end, inputs.selection.tail_begin};
}

}  // namespace

int64_t SelectionBucket(int64_t k, int64_t limit) {
  CHECK_LE(k, limit);
  int64_t bucket = kBucketMin;
  while (bucket < k) bucket *= 2;
  return std::min(bucket, limit);
}

SelectionLimits SelectionLimitsOf(const SelectionConfig& config, int64_t context_len_max) {
  SelectionLimits limits;
  limits.k_max = SelectedTokensMax(config, context_len_max);
  limits.scope = config.scope;
  limits.score = config.score;
  limits.window = config.enabled() && IsWindowScore(config.score) ? config.window_size : 0;
  limits.num_filters = static_cast<int64_t>(config.filter_layers.size());
  return limits;
}

SelectionPeers PeersOf(SelectionScope scope, const ModelShard& shard, int64_t num_kv_heads,
                       ScoreKind score) {
  SelectionPeers peers;
  peers.ranks = {shard.rank, 1};
  peers.kv_head = shard.heads.kv_heads.begin;
  peers.num_kv_heads = num_kv_heads;
  peers.score = score;
  const bool vectors = score == ScoreKind::kSoftmaxMean || IsWindowScore(score);
  if (scope == SelectionScope::kGlobal && shard.size > 1) {
    peers.ranks = {0, shard.size};
    peers.exchange = vectors ? SelectionExchange::kScores : SelectionExchange::kLists;
  }
  // Some heads may still live on one rank alone, but all ranks take part in the exchange.
  if (scope == SelectionScope::kKvHead && shard.size > num_kv_heads) {
    peers.ranks = shard.heads.replicas;
    peers.exchange = vectors ? SelectionExchange::kScoresByHead : SelectionExchange::kLists;
  }
  return peers;
}

SelectionActivations SelectionOfStep(const SelectionActivations& act, int64_t num_seqs, int64_t n,
                                     int64_t k) {
  const int64_t rows = act.scores.shape[1];  // Hs
  const Shape scores{num_seqs, rows, n};
  const Shape lists{num_seqs, rows, k};
  const bool window = act.window_scores.data != nullptr;
  const Shape vectors = window ? Shape{num_seqs, rows, act.window_scores.shape[2], n} : scores;
  const int64_t num_ranks =
      act.gathered_positions.data == nullptr ? 0 : act.gathered_positions.shape[0];
  const Shape gathered{num_ranks, num_seqs * rows * k};
  SelectionActivations step;
  step.scores = Front(act.scores, scores);
  step.local_positions = Front(act.local_positions, lists);
  step.top_scores = Front(act.top_scores, lists);
  step.gathered_positions = Front(act.gathered_positions, gathered);
  step.gathered_scores = Front(act.gathered_scores, gathered);
  step.head_scores = Front(act.head_scores, vectors);
  step.zeros = Front(act.zeros, vectors);
  step.window_scores = Front(act.window_scores, vectors);
  step.positions = Front(act.positions, lists);
  step.count = Front(act.count, {num_seqs});
  step.list_rows = Front(act.list_rows, lists);
  return step;
}

void SelectOverRanks(const SelectionActivations& step, const CandidateView& candidates,
                     const SelectionPeers& peers, Collectives& collectives, Scratch& scratch,
                     const Stream& stream) {
  const SelectionExchange exchange = peers.exchange;
  // 1. Sums come before anything is selected.
  CompleteScores(step, candidates, peers, collectives, stream);

  // 2. This rank's first k; with a common score vector they are everybody's.
  if (exchange != SelectionExchange::kLists) {
    ops::TopK(step.positions, step.top_scores, step.count, step.scores, candidates, scratch,
              stream);
    return;
  }
  ops::TopK(step.local_positions, step.top_scores, step.count, step.scores, candidates, scratch,
            stream);

  // 3. All lists, padded to one length; the peers' are merged and the first k taken again.
  const TopKExchange lists = {step.positions,          step.count,
                              step.local_positions,    step.top_scores,
                              step.gathered_positions, step.gathered_scores};
  collectives.ExchangeTopK(lists, candidates, peers.ranks, scratch, stream);
}

DecodeBatch DecodeBatchOf(const StepInputs& inputs, int group) {
  // A step begins with copies of its inputs, which wait for all earlier steps.
  return {inputs.decode_context_lens, inputs.groups[static_cast<size_t>(group)].decode_block_table,
          inputs.decode_context_len_max, /*history_settled=*/true};
}

void KeepWindowQueries(const LlamaContext& c, const StepInputs& inputs, int64_t layer_idx,
                       ConstTensorView q) {
  if (c.act.selection.window_queries.data == nullptr) return;
  if (c.layers->roles[static_cast<size_t>(layer_idx)] != LayerRole::kFilter) return;
  ops::StoreWindowQueries(WindowOf(c, layer_idx), q, inputs.positions, inputs.window_slots,
                          c.stream);
}

void FilterLayer(const LlamaContext& c, const StepInputs& inputs, int64_t layer_idx, TensorView out,
                 ConstTensorView q, float scale) {
  const size_t layer = static_cast<size_t>(layer_idx);
  const SelectionConfig& config = c.layers->config;
  const KvPages& pages = c.kv.layer(layer_idx);
  const SelectionActivations step = StepOf(c, inputs);
  const SelectionPeers peers = PeersOf(config.scope, c.shard, c.config.num_kv_heads, config.score);
  const CandidateView& candidates = inputs.selection.candidates;

  // 1. The candidates' scores from this rank's heads; the attention with them, if it is dense.
  const DecodeBatch batch = DecodeBatchOf(inputs, c.kv.groups().group_of_layer[layer]);
  const bool dense = config.filter_attends == FilterAttends::kDense;
  if (IsWindowScore(config.score)) {
    if (dense) ops::DecodeAttention(out, q, pages, batch, scale, c.scratch, c.stream);
    ops::WindowScores(step.window_scores, WindowOf(c, layer_idx),
                      Rows(inputs.window_slots, 0, inputs.num_decode_seqs), pages, batch,
                      candidates, config.lse, scale, c.scratch, c.stream);
  } else if (dense) {
    ops::FilterAttention(out, step.scores, q, pages, batch, candidates, config.score, config.lse,
                         scale, c.scratch, c.stream);
  } else {
    ops::FilterScores(step.scores, q, pages, batch, candidates, config.score, config.lse, scale,
                      c.scratch, c.stream);
  }

  // 2. One set for all that must agree.
  SelectOverRanks(step, candidates, peers, c.collectives, c.scratch, c.stream);

  // 3. Where this layer finds it, then where the segment's layers do: those share block tables.
  const SelectionView selection = ViewOf(step, inputs);
  const KvRows rows = RowsOf(pages);
  const auto locate = [&](const DecodeBatch& of) {
    ops::RowsOfPositions(step.list_rows, selection, of.block_table, rows.block_tokens,
                         rows.rows_per_block, c.stream);
  };
  if (!dense) {
    locate(batch);
    ops::GatherAttention(out, q, rows, step.list_rows, selection, batch, scale, c.scratch,
                         c.stream);
  }
  locate(DecodeBatchOf(inputs, c.layers->segment_group[layer]));
  const FilterOutcome outcome{
      layer_idx, selection, candidates, step.scores, inputs.decode_context_lens, peers};
  if (c.observer != nullptr) (*c.observer)(outcome, c.stream);
  // The scores have done their work.
  if (c.mass_observer != nullptr) {
    ops::FilterScores(step.scores, q, pages, batch, candidates, ScoreKind::kSoftmaxMean,
                      ops::LseScope::kAll, scale, c.scratch, c.stream);
    (*c.mass_observer)(outcome, c.stream);
  }
}

void SparseLayer(const LlamaContext& c, const StepInputs& inputs, int64_t layer_idx, TensorView out,
                 ConstTensorView q, float scale) {
  const SelectionActivations step = StepOf(c, inputs);
  const int group = c.kv.groups().group_of_layer[static_cast<size_t>(layer_idx)];
  ops::GatherAttention(out, q, RowsOf(c.kv.layer(layer_idx)), step.list_rows, ViewOf(step, inputs),
                       DecodeBatchOf(inputs, group), scale, c.scratch, c.stream);
}

}  // namespace tamis
