// SPDX-License-Identifier: Apache-2.0
// Ops of the observation-window scores (ScoreKind::kUniform and kExp), which rank a token by what
// the last W queries attend to. On the CPU only: they have no CUDA twin. Rules as in ops.h.
#pragma once

#include "kernels/ops.h"

namespace tamis::ops {

// window[slots[t], positions[t] % W] = q[t], so that a slot holds the queries of its last W tokens.
// slots[t] < 0 keeps nothing; a call has at most W tokens of a slot. Other entries stay.
void StoreWindowQueries(TensorView window,  // float [max_num_seqs, W, Nq_local * D]
                        ConstTensorView q,  // float [T, Nq_local * D], may have a row stride
                        ConstTensorView positions,  // i32 [T]
                        ConstTensorView slots,      // i32 [T]
                        const Stream& stream);

// What each query of the window attends to, rotated at its own position: for a sequence of n tokens
// and age a < min(W, n), the query of position n - 1 - a,
//   window_scores[s, h, a, j] = max over heads of exp(q . k_j * scale - lse), j <= n - 1 - a,
// and 0 for later j and for ages >= n. The maximum is over this rank's heads (Hs = 1) or the heads
// of each KV group; lse runs over the query's context (kAll) or the candidates in it. Written for
// the candidates alone.
void WindowScores(TensorView window_scores,  // f32 [S, Hs, W, n_max], n_max >= context_len_max
                  ConstTensorView window,    // float [max_num_seqs, W, Nq_local * D]
                  ConstTensorView slots,     // i32 [S]
                  const KvPages& pages, const DecodeBatch& batch, const CandidateView& candidates,
                  LseScope lse_scope, float scale, Scratch& scratch, const Stream& stream);

// scores[s, h, j] = sum over ages of weight * window_scores[s, h, age, j], the oldest first; weight
// is 1 (kUniform) or 2^-age (kExp). Written for the candidates alone.
void SumWindowScores(TensorView scores,              // f32 [S, Hs, n_max]
                     ConstTensorView window_scores,  // f32 [S, Hs, W, n_max]
                     const CandidateView& candidates, ScoreKind kind, const Stream& stream);

}  // namespace tamis::ops

namespace tamis::cpu {

decltype(ops::StoreWindowQueries) StoreWindowQueries;
decltype(ops::WindowScores) WindowScores;
decltype(ops::SumWindowScores) SumWindowScores;

}  // namespace tamis::cpu
