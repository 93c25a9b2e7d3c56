// SPDX-License-Identifier: Apache-2.0
// The ops of selection at Llama-3-8B's shapes: filter layer, top-k, merge, gathered attention.
// Bytes: attended tokens x Nkv x 2 x D x 2 of keys and values; 4 per score of a top-k.
#include <algorithm>
#include <numeric>
#include <random>

#include "kernels/bench/cache.h"
#include "kernels/bench/harness.h"
#include "kernels/filter_scores.h"
#include "kernels/ops.h"

namespace tamis::bench {
namespace {

constexpr int32_t kSelected = 2048, kSinks = 4, kRecent = 64;
constexpr int32_t kListed = kSelected - kSinks - kRecent;

TensorView Fill(Bench& bench, int64_t count, int32_t value) {
  return bench.Ints({count}, std::vector<int32_t>(static_cast<size_t>(count), value));
}

// kSelected tokens of `context`, sinks and tail among them. `bound` is what a captured step knows
// of the length.
void Gathered(Bench& bench, int64_t batch, int32_t context, int64_t bound, int layers) {
  const std::vector<int32_t> contexts(static_cast<size_t>(batch), context);
  const Cache cache = MakeCache(bench, contexts, layers);
  std::vector<int32_t> positions;
  std::mt19937 random(2);
  std::vector<int32_t> all(static_cast<size_t>(context - kSinks - kRecent));
  std::iota(all.begin(), all.end(), kSinks);
  for (int64_t s = 0; s < batch; ++s) {
    std::sample(all.begin(), all.end(), std::back_inserter(positions), kListed, random);
    positions.resize(static_cast<size_t>((s + 1) * kSelected), -1);
  }
  const SelectionView selection = {bench.Ints({batch, 1, kSelected}, positions),
                                   Fill(bench, batch, kListed), Fill(bench, batch, kSinks),
                                   Fill(bench, batch, context - kRecent)};
  const TensorView list_rows = bench.Random({batch, 1, kSelected}, DType::kI32);
  const TensorView q = bench.Random({batch, kQHeads * kHeadDim}, DType::kBF16);
  const TensorView out = bench.Random({batch, kQHeads * kHeadDim}, DType::kBF16);
  const KvPages& pages = cache.layers[0];
  ops::RowsOfPositions(list_rows, selection, cache.batch.block_table, pages.block_tokens,
                       RowsOf(pages).rows_per_block, bench.stream());
  DecodeBatch decode = cache.batch;
  decode.context_len_max = bound;
  const double us = bench.MedianUs(8 * layers, [&](int i) {
    ops::GatherAttention(out, q, RowsOf(cache.layers[static_cast<size_t>(i % layers)]), list_rows,
                         selection, decode, 0.088f, bench.scratch(), bench.stream());
  });
  bench.Bytes("gather attention b" + std::to_string(batch) + " bound " + std::to_string(bound), us,
              static_cast<double>(batch * kSelected) * kTokenBytes);
  bench.Release();
}

// A row of `length` scores in a tensor of n_max.
void Selecting(Bench& bench, int64_t sequences, int32_t length, int64_t n_max) {
  const TensorView scores = bench.Random({sequences, 1, n_max}, DType::kF32);
  const TensorView positions = bench.Random({sequences, 1, kSelected}, DType::kI32);
  const TensorView top_scores = bench.Random({sequences, 1, kSelected}, DType::kF32);
  const TensorView count = bench.Random({sequences}, DType::kI32);
  const CandidateView candidates = {Fill(bench, sequences, kSinks),
                                    Fill(bench, sequences, length - kRecent),
                                    Fill(bench, sequences, kSelected)};
  const double us = bench.MedianUs(10, [&](int) {
    ops::TopK(positions, top_scores, count, scores, candidates, bench.scratch(), bench.stream());
  });
  bench.Bytes("TopK 2048 of " + std::to_string(length) + " b" + std::to_string(sequences) +
                  " bound " + std::to_string(n_max),
              us, 4.0 * static_cast<double>(sequences) * length);
  bench.Release();
}

// Lists of `ranks` ranks that share half of their positions.
void Merging(Bench& bench, int64_t ranks, int64_t sequences) {
  std::vector<int32_t> positions;
  std::mt19937 random(3);
  std::vector<int32_t> all(kSelected * 2);
  std::iota(all.begin(), all.end(), 0);
  for (int64_t list = 0; list < ranks * sequences; ++list) {
    std::sample(all.begin(), all.end(), std::back_inserter(positions), kSelected, random);
  }
  const int64_t entries = sequences * kSelected;
  const TensorView lists = bench.Ints({ranks, entries}, positions);
  const TensorView scores = bench.Random({ranks, entries}, DType::kF32);
  const TensorView merged = bench.Random({sequences, 1, kSelected}, DType::kI32);
  const TensorView count = bench.Random({sequences}, DType::kI32);
  const CandidateView candidates = {Fill(bench, sequences, 0), Fill(bench, sequences, 131072),
                                    Fill(bench, sequences, kSelected)};
  const double us = bench.MedianUs(10, [&](int) {
    ops::MergeTopK(merged, count, lists, scores, candidates, bench.scratch(), bench.stream());
  });
  bench.Bytes("MergeTopK W=" + std::to_string(ranks) + " b" + std::to_string(sequences), us,
              8.0 * static_cast<double>(ranks * entries));
  bench.Release();
}

// What a filter layer's attention part takes, beside a dense layer's over the same cache.
void Filtering(Bench& bench, int32_t context, int32_t block_tokens) {
  constexpr int kLayers = 2;
  const Cache cache = MakeCache(bench, {context}, kLayers, block_tokens);
  const TensorView q = bench.Random({1, kQHeads * kHeadDim}, DType::kBF16);
  const TensorView out = bench.Random({1, kQHeads * kHeadDim}, DType::kBF16);
  const TensorView scores = bench.Random({1, 1, context}, DType::kF32);
  const TensorView positions = bench.Random({1, 1, kSelected}, DType::kI32);
  const TensorView list_rows = bench.Random({1, 1, kSelected}, DType::kI32);
  const TensorView top_scores = bench.Random({1, 1, kSelected}, DType::kF32);
  const TensorView count = bench.Random({1}, DType::kI32);
  const CandidateView candidates = {Fill(bench, 1, kSinks), Fill(bench, 1, context - kRecent),
                                    Fill(bench, 1, kListed)};
  const SelectionView selection = {positions, count, Fill(bench, 1, kSinks),
                                   Fill(bench, 1, context - kRecent)};
  const std::string suffix =
      " " + std::to_string(context) + " b1, blocks of " + std::to_string(block_tokens);
  const auto row = [&](const std::string& name, const std::function<void(const KvPages&)>& call) {
    const double us = bench.MedianUs(
        4 * kLayers, [&](int i) { call(cache.layers[static_cast<size_t>(i % kLayers)]); });
    bench.Bytes(name + suffix, us, context * kTokenBytes);
  };
  Scratch& scratch = bench.scratch();
  const Stream& stream = bench.stream();
  row("dense attention", [&](const KvPages& pages) {
    ops::DecodeAttention(out, q, pages, cache.batch, 0.088f, scratch, stream);
  });
  const std::pair<const char*, ScoreKind> kinds[] = {{"raw_max", ScoreKind::kRawMax},
                                                     {"softmax_max", ScoreKind::kSoftmaxMax},
                                                     {"softmax_mean", ScoreKind::kSoftmaxMean}};
  for (const auto& [name, kind] : kinds) {
    row(std::string("filter attention ") + name, [&, kind = kind](const KvPages& pages) {
      ops::FilterAttention(out, scores, q, pages, cache.batch, candidates, kind,
                           ops::LseScope::kAll, 0.088f, scratch, stream);
    });
  }
  for (const auto& [name, kind] : kinds) {
    row(std::string("filter scores ") + name, [&, kind = kind](const KvPages& pages) {
      ops::FilterScores(scores, q, pages, cache.batch, candidates, kind, ops::LseScope::kAll,
                        0.088f, scratch, stream);
    });
  }
  row("filter raw_max, top-k, rows", [&](const KvPages& pages) {
    ops::FilterAttention(out, scores, q, pages, cache.batch, candidates, ScoreKind::kRawMax,
                         ops::LseScope::kAll, 0.088f, scratch, stream);
    ops::TopK(positions, top_scores, count, scores, candidates, scratch, stream);
    ops::RowsOfPositions(list_rows, selection, cache.batch.block_table, block_tokens,
                         2 * block_tokens * kKvHeads, stream);
  });
  bench.Release();
}

}  // namespace

void BenchSelection(Bench& bench) {
  bench.Heading(
      "Selection, 32/8 heads of 128, bf16, blocks of 16 if not said, shuffled, 2048 selected");
  Gathered(bench, 1, 131072, kSelected, 4);
  Gathered(bench, 1, 131072, 131072, 4);
  Gathered(bench, 4, 131072, kSelected, 4);
  Gathered(bench, 32, 32768, kSelected, 2);
  Gathered(bench, 32, 32768, 131072, 2);
  Selecting(bench, 1, 131072, 131072);
  Selecting(bench, 1, 1 << 20, 1 << 20);
  Selecting(bench, 1, 131072, 1 << 20);
  Selecting(bench, 1, 4096, 131072);
  Selecting(bench, 8, 131072, 131072);
  Selecting(bench, 32, 131072, 131072);
  Merging(bench, 2, 1);
  Merging(bench, 8, 1);
  Merging(bench, 2, 32);
  for (const int32_t block_tokens : {16, 32, 64}) {
    Filtering(bench, 131072, block_tokens);
    Filtering(bench, 450000, block_tokens);
  }
}

}  // namespace tamis::bench
