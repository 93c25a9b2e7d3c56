// SPDX-License-Identifier: Apache-2.0
// Selection as the ops see it: which tokens a sparse layer attends to, and what a filter layer
// scores. Semantics: runtime/model/README.md, "Selection".
#pragma once

#include "kernels/tensor.h"

namespace tamis {

enum class ScoreKind : uint8_t {
  kRawMax,       // max over heads of the logit (the released default)
  kSoftmaxMax,   // max over heads of logit - lse_h (the paper)
  kSoftmaxMean,  // mean over heads of exp(logit - lse_h)
  // Observation windows: the sum over the last W queries of the max over heads of exp(logit - lse);
  // window_ops.h.
  kUniform,  // all queries alike
  kExp,      // each counts half as much as the next
};

inline bool IsWindowScore(ScoreKind kind) {
  return kind == ScoreKind::kUniform || kind == ScoreKind::kExp;
}

enum class SelectionScope : uint8_t {
  kGlobal,  // one set for all heads of all ranks
  kRank,    // one set per rank
  kKvHead,  // one set per KV head
};

// The attended tokens of each sequence, as forced ranges and an ascending list between them:
//   [0, sink_end) then positions[0 .. count) then [tail_begin, context_len)
// with sink_end <= positions < tail_begin. Hs is 1 (global, rank) or Nkv_local (kv_head). Fixed
// sizes: k_max is a bucket. A sequence that decodes densely at this step has count 0 and
// tail_begin = sink_end = 0, so that its tail is the whole context.
struct SelectionView {
  ConstTensorView positions;   // i32 [S, Hs, k_max] ascending; undefined at and after count
  ConstTensorView count;       // i32 [S] listed positions, equal for all Hs
  ConstTensorView sink_end;    // i32 [S]
  ConstTensorView tail_begin;  // i32 [S]
};

// What competes for a place at this step: positions [candidate_begin, candidate_end) of each
// sequence, minus nothing: sinks lie before, recents (and in `prompt` mode generated tokens) after.
struct CandidateView {
  ConstTensorView begin;  // i32 [S]
  ConstTensorView end;    // i32 [S]; end <= begin = nothing competes
  ConstTensorView k;      // i32 [S] places; at most k_max; clamped to end - begin
};

}  // namespace tamis
