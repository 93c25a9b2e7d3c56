// SPDX-License-Identifier: Apache-2.0
// What a filter layer does in a step: score, select, agree over ranks; and what sparse layers do
// with it. Every stage is one op or collective over buffers of fixed size.
#pragma once

#include <functional>

#include "kernels/ops.h"
#include "kernels/scratch.h"
#include "parallel/collectives.h"
#include "parallel/shard.h"
#include "runtime/model/selection_config.h"
#include "runtime/model/step_inputs.h"

namespace tamis {

struct LlamaContext;

// What sizes the buffers below. k_max = 0: no selection.
struct SelectionLimits {
  int64_t k_max = 0;
  SelectionScope scope = SelectionScope::kGlobal;
  ScoreKind score = ScoreKind::kRawMax;
  int64_t window = 0;       // W, of a window score; else 0
  int64_t num_filters = 0;  // layers that keep a window of queries
};

SelectionLimits SelectionLimitsOf(const SelectionConfig& config, int64_t context_len_max);

// The bucket of k: k_max of a step's buffers. Powers of two, at least 64, at most the limit, so
// that few sizes of collectives (and of captured graphs) occur.
int64_t SelectionBucket(int64_t k, int64_t limit);

// How ranks come to one set.
enum class SelectionExchange : uint8_t {
  kNone,          // each on its own
  kLists,         // maxima: every rank's first k, merged
  kScores,        // means and windows: the score vectors are reduced over all ranks
  kScoresByHead,  // the same over the ranks that share a KV head
};

// The ranks that must hold the same set as this one.
struct SelectionPeers {
  SelectionExchange exchange = SelectionExchange::kNone;
  Slice ranks;
  int64_t kv_head = 0;  // this rank's, for kScoresByHead
  int64_t num_kv_heads = 0;
  ScoreKind score = ScoreKind::kRawMax;
};
SelectionPeers PeersOf(SelectionScope scope, const ModelShard& shard, int64_t num_kv_heads,
                       ScoreKind score);

// The latest selection and what leads to it, part of Activations. Hs: kernels/README.md.
struct SelectionActivations {
  TensorView scores;              // f32 [S_max, Hs, n_max]
  TensorView local_positions;     // i32 [S_max, Hs, k_max] this rank's list, before the exchange
  TensorView top_scores;          // f32 [S_max, Hs, k_max]
  TensorView gathered_positions;  // i32 [W, S_max * Hs * k_max]
  TensorView gathered_scores;     // f32 [W, S_max * Hs * k_max]
  TensorView head_scores;         // f32, as the vectors that are reduced: scores or window_scores
  TensorView zeros;               // the same
  TensorView window_queries;      // [filters * max_num_seqs, W, Nq_local * D] of the last W tokens
  TensorView window_scores;       // f32 [S_max, Hs, W, n_max]
  TensorView positions;           // i32 [S_max, Hs, k_max]
  TensorView count;               // i32 [S_max]
  TensorView list_rows;           // i32 [S_max, Hs, k_max]
};

// The front of each buffer, shaped for a step of num_seqs rows, scores of n positions, lists of k.
SelectionActivations SelectionOfStep(const SelectionActivations& act, int64_t num_seqs, int64_t n,
                                     int64_t k);

// From this rank's scores to the peers' common positions and count. `step` is SelectionOfStep's.
// Under kScores and kScoresByHead step.scores becomes the peers' common one (a sum, which orders as
// the mean does). With a window score it is made of step.window_scores, whatever the exchange.
void SelectOverRanks(const SelectionActivations& step, const CandidateView& candidates,
                     const SelectionPeers& peers, Collectives& collectives, Scratch& scratch,
                     const Stream& stream);

// What an observer sees at a filter layer, after the ranks have agreed.
struct FilterOutcome {
  int64_t layer_idx = 0;
  SelectionView selection;
  CandidateView candidates;
  ConstTensorView scores;        // f32 [S, Hs, n] of this rank's heads, or summed over the peers
  ConstTensorView context_lens;  // i32 [S]
  SelectionPeers peers;
};
using SelectionObserver = std::function<void(const FilterOutcome&, const Stream&)>;

DecodeBatch DecodeBatchOf(const StepInputs& inputs, int group);

// Keeps the queries [T, Nq_local * D] of the step's rows, prefilled ones too, if this is a filter
// layer and scores are of a window.
void KeepWindowQueries(const LlamaContext& c, const StepInputs& inputs, int64_t layer_idx,
                       ConstTensorView q);

// out = attention of the decoding rows, dense or over the new selection, which the layer's segment
// has from now on.
void FilterLayer(const LlamaContext& c, const StepInputs& inputs, int64_t layer_idx, TensorView out,
                 ConstTensorView q, float scale);

// out = attention of the decoding rows over the latest selection.
void SparseLayer(const LlamaContext& c, const StepInputs& inputs, int64_t layer_idx, TensorView out,
                 ConstTensorView q, float scale);

}  // namespace tamis
