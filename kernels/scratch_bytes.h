// SPDX-License-Identifier: Apache-2.0
// How much scratch the ops of one rank can take at once, for the start-up arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tensor.h"

namespace tamis {

// Upper bounds of the sizes that the ops will be called with.
struct ScratchLimits {
  DType dtype = DType::kF32;    // of weights, activations and KV
  int64_t num_tokens_max = 0;   // T
  int64_t num_seqs_max = 0;     // S
  int64_t inner_max = 0;        // K of MatMul
  int64_t outer_max = 0;        // N of MatMul
  int64_t q_heads_local = 0;    // Nq_local
  int64_t kv_heads_local = 0;   // Nkv_local
  int64_t head_dim = 0;         // D
  int64_t context_len_max = 0;  // n_max too
  int64_t k_max = 0;            // 0 without selection
  int64_t num_ranks = 1;        // W
  int64_t vocab = 0;            // V
};

// The most that any single op takes; ops give theirs back before they return.
size_t OpScratchBytes(DeviceKind device, const ScratchLimits& limits);

namespace cpu {
size_t OpScratchBytes(const ScratchLimits& limits);
}
namespace cuda {
size_t OpScratchBytes(const ScratchLimits& limits);
}

}  // namespace tamis
