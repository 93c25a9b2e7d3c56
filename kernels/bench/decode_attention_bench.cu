// SPDX-License-Identifier: Apache-2.0
// DecodeAttention at Llama-3-8B's shapes.
// Bytes: context x Nkv x 2 x D x 2 of keys and values.
#include <algorithm>
#include <numeric>

#include "kernels/bench/cache.h"
#include "kernels/bench/harness.h"
#include "kernels/ops.h"

namespace tamis::bench {
namespace {

void Dense(Bench& bench, const std::string& name, const std::vector<int32_t>& contexts,
           int32_t block_tokens = kBlockTokens, bool shuffled = true) {
  const double tokens = std::accumulate(contexts.begin(), contexts.end(), 0.0);
  // Enough layers that the L2 holds none of the next one, and a few milliseconds a replay.
  const int layers = std::clamp(static_cast<int>(1e9 / (tokens * kTokenBytes)) + 2, 2, 16);
  const Cache cache = MakeCache(bench, contexts, layers, block_tokens, shuffled);
  const auto sequences = static_cast<int64_t>(contexts.size());
  const TensorView q = bench.Random({sequences, kQHeads * kHeadDim}, DType::kBF16);
  const TensorView out = bench.Random({sequences, kQHeads * kHeadDim}, DType::kBF16);
  const double us = bench.MedianUs(2 * layers, [&](int i) {
    ops::DecodeAttention(out, q, cache.layers[static_cast<size_t>(i % layers)], cache.batch, 0.088f,
                         bench.scratch(), bench.stream());
  });
  bench.Bytes("decode attention " + name, us, tokens * kTokenBytes);
  bench.Release();
}

}  // namespace

void BenchDecodeAttention(Bench& bench) {
  bench.Heading("Decode attention, 32/8 heads of 128, bf16, blocks of 16 if not said, shuffled");
  const auto same = [](size_t batch, int32_t context) {
    return std::vector<int32_t>(batch, context);
  };
  Dense(bench, "1K b1", same(1, 1024));
  Dense(bench, "8K b1", same(1, 8192));
  Dense(bench, "32K b1", same(1, 32768));
  Dense(bench, "128K b1", same(1, 131072));
  Dense(bench, "128K b4", same(4, 131072));
  Dense(bench, "128K b1, in order", same(1, 131072), kBlockTokens, false);
  Dense(bench, "128K b4, in order", same(4, 131072), kBlockTokens, false);
  Dense(bench, "32K b8", same(8, 32768));
  Dense(bench, "2K b32", same(32, 2048));
  for (const int32_t block_tokens : {32, 64}) {
    const std::string blocks = ", blocks of " + std::to_string(block_tokens);
    Dense(bench, "1K b1" + blocks, same(1, 1024), block_tokens);
    Dense(bench, "128K b1" + blocks, same(1, 131072), block_tokens);
    Dense(bench, "128K b4" + blocks, same(4, 131072), block_tokens);
    Dense(bench, "2K b32" + blocks, same(32, 2048), block_tokens);
  }
  Dense(bench, "64K, 20000, 5 x 3000, 9 x 100",
        {65536, 20000, 3000, 3000, 3000, 3000, 3000, 100, 100, 100, 100, 100, 100, 100, 100, 100});
}

}  // namespace tamis::bench
