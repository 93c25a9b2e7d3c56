// SPDX-License-Identifier: Apache-2.0
// How ranks agree on one selection: the tensors of Collectives::ExchangeTopK.
#pragma once

#include "kernels/tensor.h"

namespace tamis {

// Every rank brings, per sequence and selection head, the first k of its own scores; all peers get
// the first k of the union, where a position's score is its best on any peer. Why that equals
// selecting from the maximum of all ranks' scores: runtime/model/README.md, "Selection".
struct TopKExchange {
  TensorView positions;             // i32 [S, Hs, k_max] ascending, the rest -1
  TensorView count;                 // i32 [S]
  ConstTensorView local_positions;  // i32 [S, Hs, k_max] ascending, the rest -1
  ConstTensorView local_scores;     // f32 [S, Hs, k_max] in the order of local_positions
  // Where all ranks' lists may be put; clobbered or left alone.
  TensorView gathered_positions;  // i32 [W, S * Hs * k_max]
  TensorView gathered_scores;     // f32 [W, S * Hs * k_max]
};

}  // namespace tamis
