// SPDX-License-Identifier: Apache-2.0
// PrefillAttention at Llama-3-8B's shapes. FLOP: 4 x D per query head and (row, token seen) pair.
#include <algorithm>
#include <numeric>
#include <random>

#include "kernels/bench/harness.h"
#include "kernels/ops.h"

namespace tamis::bench {
namespace {

constexpr int64_t kQHeads = 32, kKvHeads = 8, kHeadDim = 128, kBlockTokens = 16;

void Chunk(Bench& bench, const std::string& name, int64_t queries, int64_t context) {
  const int64_t num_blocks = context / kBlockTokens;
  const TensorView pages =
      bench.Random({num_blocks * kKvHeads, 2, kBlockTokens, kHeadDim}, DType::kBF16);
  const KvPages kv = {pages.data, DType::kBF16, DeviceKind::kCuda, num_blocks,
                      kKvHeads,   kBlockTokens, kHeadDim};
  std::vector<int32_t> table(static_cast<size_t>(num_blocks));
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), std::mt19937(1));
  PrefillBatch batch;
  batch.query_starts = bench.Ints({2}, {0, static_cast<int32_t>(queries)});
  batch.context_lens = bench.Ints({1}, {static_cast<int32_t>(context)});
  batch.block_table = bench.Ints({1, num_blocks}, table);
  batch.query_len_max = queries;
  batch.context_len_max = context;
  const TensorView q = bench.Random({queries, kQHeads * kHeadDim}, DType::kBF16);
  const TensorView out = bench.Random({queries, kQHeads * kHeadDim}, DType::kBF16);
  const double us = bench.MedianUs(1, [&](int) {
    ops::PrefillAttention(out, q, kv, batch, 0.088f, bench.scratch(), bench.stream());
  });
  const auto n = static_cast<double>(queries);
  const double pairs = n * static_cast<double>(context - queries) + n * (n + 1) / 2;
  bench.Flops("prefill attention " + name, us, 4.0 * kHeadDim * kQHeads * pairs);
  bench.Release();
}

// What the tensor cores reach in a product, as the ceiling.
void Ceiling(Bench& bench) {
  constexpr int64_t kSide = 8192;
  const TensorView a = bench.Random({kSide, kSide}, DType::kBF16);
  const TensorView weight = bench.Random({kSide, kSide}, DType::kBF16);
  const TensorView out = bench.Random({kSide, kSide}, DType::kBF16);
  const double us =
      bench.MedianUs(2, [&](int) { ops::MatMul(out, a, weight, bench.scratch(), bench.stream()); });
  bench.Flops("product 8192 x 8192 x 8192", us, 2.0 * kSide * kSide * kSide);
  bench.Release();
}

}  // namespace

void BenchPrefillAttention(Bench& bench) {
  bench.Heading("Prefill attention, causal, 32/8 heads of 128, bf16, blocks in random order");
  Ceiling(bench);
  Chunk(bench, "2K", 2048, 2048);
  Chunk(bench, "8K", 8192, 8192);
  Chunk(bench, "32K", 32768, 32768);
  Chunk(bench, "8K after 56K", 8192, 65536);
  Chunk(bench, "8K after 120K", 8192, 131072);
  Chunk(bench, "512 after 31.5K", 512, 32768);
}

}  // namespace tamis::bench
