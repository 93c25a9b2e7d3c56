// SPDX-License-Identifier: Apache-2.0
// DecodeAttention and GatherAttention at Llama-3-8B's shapes.
// Bytes: context x Nkv x 2 x D x 2 of keys and values.
#include <algorithm>
#include <numeric>
#include <random>

#include "kernels/bench/harness.h"
#include "kernels/ops.h"

namespace tamis::bench {
namespace {

constexpr int64_t kQHeads = 32, kKvHeads = 8, kHeadDim = 128, kBlockTokens = 16;
constexpr double kTokenBytes = kKvHeads * 2 * kHeadDim * 2;

// Several layers' pages under one block table, shuffled as after hours of serving or in order.
struct Cache {
  std::vector<KvPages> layers;
  DecodeBatch batch;
};

Cache MakeCache(Bench& bench, const std::vector<int32_t>& contexts, int layers,
                bool shuffled = true) {
  const int64_t longest = *std::max_element(contexts.begin(), contexts.end());
  const int64_t blocks_max = (longest + kBlockTokens - 1) / kBlockTokens;
  const auto sequences = static_cast<int64_t>(contexts.size());
  int64_t num_blocks = 0;
  for (const int32_t context : contexts) num_blocks += (context + kBlockTokens - 1) / kBlockTokens;
  std::vector<int32_t> order(static_cast<size_t>(num_blocks));
  std::iota(order.begin(), order.end(), 0);
  if (shuffled) std::shuffle(order.begin(), order.end(), std::mt19937(1));
  std::vector<int32_t> table(static_cast<size_t>(sequences * blocks_max), 0);
  size_t next = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t blocks = (contexts[static_cast<size_t>(s)] + kBlockTokens - 1) / kBlockTokens;
    for (int64_t b = 0; b < blocks; ++b) {
      table[static_cast<size_t>(s * blocks_max + b)] = order[next++];
    }
  }
  Cache cache;
  for (int i = 0; i < layers; ++i) {
    const TensorView pages =
        bench.Random({num_blocks * kKvHeads, 2, kBlockTokens, kHeadDim}, DType::kBF16);
    cache.layers.push_back({pages.data, DType::kBF16, DeviceKind::kCuda, num_blocks, kKvHeads,
                            kBlockTokens, kHeadDim});
  }
  cache.batch.context_lens = bench.Ints({sequences}, contexts);
  cache.batch.block_table = bench.Ints({sequences, blocks_max}, table);
  cache.batch.context_len_max = longest;
  return cache;
}

void Dense(Bench& bench, const std::string& name, const std::vector<int32_t>& contexts,
           bool shuffled = true) {
  const double tokens = std::accumulate(contexts.begin(), contexts.end(), 0.0);
  // Enough layers that the L2 holds none of the next one, and a few milliseconds a replay.
  const int layers = std::clamp(static_cast<int>(1e9 / (tokens * kTokenBytes)) + 2, 2, 16);
  const Cache cache = MakeCache(bench, contexts, layers, shuffled);
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

void Gathered(Bench& bench, int64_t batch, int64_t k) {
  const std::vector<int32_t> contexts(static_cast<size_t>(batch), 131072);
  const int layers = 4;
  const Cache cache = MakeCache(bench, contexts, layers);
  std::vector<int32_t> positions;
  std::mt19937 random(2);
  for (int64_t s = 0; s < batch; ++s) {
    std::vector<int32_t> all(131000);
    std::iota(all.begin(), all.end(), 4);
    std::vector<int32_t> chosen;
    std::sample(all.begin(), all.end(), std::back_inserter(chosen), k, random);
    positions.insert(positions.end(), chosen.begin(), chosen.end());
  }
  const auto fill = [&](int32_t value) {
    return bench.Ints({batch}, std::vector<int32_t>(static_cast<size_t>(batch), value));
  };
  const SelectionView selection = {bench.Ints({batch, 1, k}, positions),
                                   fill(static_cast<int32_t>(k)), fill(4), fill(131056)};
  const TensorView list_rows = bench.Random({batch, 1, k}, DType::kI32);
  const TensorView q = bench.Random({batch, kQHeads * kHeadDim}, DType::kBF16);
  const TensorView out = bench.Random({batch, kQHeads * kHeadDim}, DType::kBF16);
  const KvPages& pages = cache.layers[0];
  ops::RowsOfPositions(list_rows, selection, cache.batch.block_table, pages.block_tokens,
                       RowsOf(pages).rows_per_block, bench.stream());
  DecodeBatch decode = cache.batch;
  decode.context_len_max = k + 20;  // as the engine bounds the attended tokens
  const double us = bench.MedianUs(4 * layers, [&](int i) {
    ops::GatherAttention(out, q, RowsOf(cache.layers[static_cast<size_t>(i % layers)]), list_rows,
                         selection, decode, 0.088f, bench.scratch(), bench.stream());
  });
  bench.Bytes("gather attention k=" + std::to_string(k) + " b" + std::to_string(batch), us,
              static_cast<double>(batch * (k + 20)) * kTokenBytes);
  bench.Release();
}

}  // namespace

void BenchDecodeAttention(Bench& bench) {
  bench.Heading("Decode attention, 32/8 heads of 128, bf16, blocks of 16, shuffled");
  const auto same = [](size_t batch, int32_t context) {
    return std::vector<int32_t>(batch, context);
  };
  Dense(bench, "1K b1", same(1, 1024));
  Dense(bench, "8K b1", same(1, 8192));
  Dense(bench, "32K b1", same(1, 32768));
  Dense(bench, "128K b1", same(1, 131072));
  Dense(bench, "128K b4", same(4, 131072));
  Dense(bench, "128K b1, in order", same(1, 131072), false);
  Dense(bench, "128K b4, in order", same(4, 131072), false);
  Dense(bench, "32K b8", same(8, 32768));
  Dense(bench, "2K b32", same(32, 2048));
  Dense(bench, "64K, 20000, 5 x 3000, 9 x 100",
        {65536, 20000, 3000, 3000, 3000, 3000, 3000, 100, 100, 100, 100, 100, 100, 100, 100, 100});
  Gathered(bench, 1, 2048);
  Gathered(bench, 4, 2048);
}

}  // namespace tamis::bench
