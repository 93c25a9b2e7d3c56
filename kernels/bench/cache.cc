// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench/cache.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace tamis::bench {

Cache MakeCache(Bench& bench, const std::vector<int32_t>& contexts, int layers,
                int32_t block_tokens, bool shuffled) {
  const int64_t longest = *std::max_element(contexts.begin(), contexts.end());
  const int64_t blocks_max = (longest + block_tokens - 1) / block_tokens;
  const auto sequences = static_cast<int64_t>(contexts.size());
  int64_t num_blocks = 0;
  for (const int32_t context : contexts) num_blocks += (context + block_tokens - 1) / block_tokens;
  std::vector<int32_t> order(static_cast<size_t>(num_blocks));
  std::iota(order.begin(), order.end(), 0);
  if (shuffled) std::shuffle(order.begin(), order.end(), std::mt19937(1));
  std::vector<int32_t> table(static_cast<size_t>(sequences * blocks_max), 0);
  size_t next = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t blocks = (contexts[static_cast<size_t>(s)] + block_tokens - 1) / block_tokens;
    for (int64_t b = 0; b < blocks; ++b) {
      table[static_cast<size_t>(s * blocks_max + b)] = order[next++];
    }
  }
  Cache cache;
  for (int i = 0; i < layers; ++i) {
    const TensorView pages =
        bench.Random({num_blocks * kKvHeads, 2, block_tokens, kHeadDim}, DType::kBF16);
    cache.layers.push_back({pages.data, DType::kBF16, DeviceKind::kCuda, num_blocks, kKvHeads,
                            block_tokens, kHeadDim});
  }
  cache.batch.context_lens = bench.Ints({sequences}, contexts);
  cache.batch.block_table = bench.Ints({sequences, blocks_max}, table);
  cache.batch.context_len_max = longest;
  cache.batch.history_settled = true;
  return cache;
}

}  // namespace tamis::bench
