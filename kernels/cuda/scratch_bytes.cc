// SPDX-License-Identifier: Apache-2.0
// What the CUDA ops take from scratch at most; each term names its op.
#include "kernels/scratch_bytes.h"

#include <algorithm>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/merge_top_k.h"
#include "kernels/cuda/sample.h"
#include "kernels/cuda/split_attention.cuh"
#include "kernels/cuda/top_k.h"
#include "kernels/kv_layout.h"

namespace tamis::cuda {
namespace {

constexpr int64_t kSlack = 4096;  // alignment of what is taken besides

// TopK at any number of rows up to `rows`: fewer rows are cut into more pieces.
int64_t TopKBytes(int64_t rows, int64_t n_max, int64_t k_max) {
  int64_t bytes = 0;
  for (int64_t r = 1; r <= rows; ++r) {
    bytes = std::max(bytes, r * TopKLayoutOf(r, n_max, k_max).ScratchBytes());
  }
  return bytes;
}

}  // namespace

size_t OpScratchBytes(const ScratchLimits& limits) {
  const int64_t kv_heads = std::max<int64_t>(1, limits.kv_heads_local);
  const auto group = static_cast<int>(limits.q_heads_local / kv_heads);
  const ChunkRule rule(kv_heads * UnitsPerKvHead(group));
  const int64_t chunks = rule.ChunksMax(limits.context_len_max);
  const int64_t rows = limits.num_seqs_max * limits.q_heads_local;
  const int64_t partials = 4 * rows * chunks * (limits.head_dim + 2);
  // FilterAttention keeps the logits of every head besides.
  const int64_t padded_context = limits.context_len_max + kAttentionChunkTokens;
  const int64_t logits = limits.k_max > 0 ? 4 * rows * (padded_context + 1) : 0;
  const int64_t selection_rows = limits.num_seqs_max * kv_heads;
  const int64_t merge = selection_rows * MergeTopKBytes(limits.num_ranks, limits.k_max);
  const int64_t top_k =
      limits.k_max > 0 ? TopKBytes(selection_rows, limits.context_len_max, limits.k_max) : 0;
  const int64_t sample = limits.num_seqs_max * (32 * kSamplePieces + 8 * kSampleListMax + 4);
  const auto product = static_cast<int64_t>(kCublasWorkspaceBytes);
  return static_cast<size_t>(std::max({partials + logits, merge, top_k, sample, product}) + kSlack);
}

}  // namespace tamis::cuda
