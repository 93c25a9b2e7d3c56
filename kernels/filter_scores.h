// SPDX-License-Identifier: Apache-2.0
// The op of filter layers that attend to their own selection; the rules of ops.h hold.
#pragma once

#include "kernels/ops.h"

namespace tamis::ops {

// FilterAttention's scores without its attention: reads the keys alone.
void FilterScores(TensorView scores,  // f32 [S, Hs, n_max], n_max >= batch.context_len_max
                  ConstTensorView q,  // float [S, Nq_local * D], may have a row stride
                  const KvPages& pages, const DecodeBatch& batch, const CandidateView& candidates,
                  ScoreKind kind, LseScope lse_scope, float scale, Scratch& scratch,
                  const Stream& stream);

}  // namespace tamis::ops

namespace tamis::cpu {
decltype(ops::FilterScores) FilterScores;
}
namespace tamis::cuda {
decltype(ops::FilterScores) FilterScores;
}
