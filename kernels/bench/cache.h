// SPDX-License-Identifier: Apache-2.0
// Paged keys and values of Llama-3-8B's shape for the attention benchmarks.
#pragma once

#include <vector>

#include "kernels/bench/harness.h"
#include "kernels/ops.h"

namespace tamis::bench {

constexpr int64_t kQHeads = 32, kKvHeads = 8, kHeadDim = 128;
constexpr int32_t kBlockTokens = 16;  // unless said otherwise
constexpr double kTokenBytes = kKvHeads * 2 * kHeadDim * 2;

// Several layers' pages under one block table, shuffled as after hours of serving or in order.
struct Cache {
  std::vector<KvPages> layers;
  DecodeBatch batch;
};

Cache MakeCache(Bench& bench, const std::vector<int32_t>& contexts, int layers,
                int32_t block_tokens = kBlockTokens, bool shuffled = true);

}  // namespace tamis::bench
