// SPDX-License-Identifier: Apache-2.0
#include "kernels/scratch_bytes.h"

#include <algorithm>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/matmul.h"

namespace tamis::cpu {
namespace {

constexpr int64_t kSlack = 4096;  // alignment of what is taken besides

}  // namespace

size_t OpScratchBytes(const ScratchLimits& limits) {
  const int64_t group =
      limits.kv_heads_local > 0 ? limits.q_heads_local / limits.kv_heads_local : 1;
  const int64_t query_rows = std::max(kQueryRows, group);
  const int64_t attention =
      static_cast<int64_t>(AttentionBlock::ScratchBytes(query_rows, limits.head_dim)) + 4 * group;
  const int64_t product =
      limits.dtype == DType::kF32 ? 0 : 4 * kMatMulTile * (2 * limits.inner_max + kMatMulTile);
  const int64_t sample = 8 * limits.vocab;
  const int64_t top_k = 8 * limits.context_len_max;
  const int64_t merge = 8 * limits.num_ranks * limits.k_max;
  return static_cast<size_t>(std::max({attention, product, sample, top_k, merge}) + kSlack);
}

}  // namespace tamis::cpu
