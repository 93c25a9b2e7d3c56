// SPDX-License-Identifier: Apache-2.0
// What the CUDA ops take from scratch at most; each term names its op.
#include "kernels/scratch_bytes.h"

#include <algorithm>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/sample.h"
#include "kernels/kv_layout.h"

namespace tamis::cuda {
namespace {

constexpr int64_t kSlack = 4096;  // alignment of what is taken besides

}  // namespace

size_t OpScratchBytes(const ScratchLimits& limits) {
  const int64_t chunks = limits.context_len_max / kAttentionChunkTokens + 1;
  const int64_t rows = limits.num_seqs_max * limits.q_heads_local;
  const int64_t partials = 4 * rows * chunks * (limits.head_dim + 2);
  // FilterAttention keeps the logits of every head besides.
  const int64_t logits = limits.k_max > 0 ? 4 * rows * (chunks * kAttentionChunkTokens + 1) : 0;
  const int64_t selection_rows = limits.num_seqs_max * std::max<int64_t>(1, limits.kv_heads_local);
  const int64_t merge = selection_rows * limits.num_ranks * (12 * limits.k_max + 4);
  const int64_t sample = limits.num_seqs_max * (32 * kSamplePieces + 8 * kSampleListMax + 4);
  const auto product = static_cast<int64_t>(kCublasWorkspaceBytes);
  return static_cast<size_t>(std::max({partials + logits, merge, sample, product}) + kSlack);
}

}  // namespace tamis::cuda
