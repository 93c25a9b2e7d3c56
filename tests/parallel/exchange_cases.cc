// SPDX-License-Identifier: Apache-2.0
// ExchangeTopK on any transport and device against the CPU's MergeTopK of the same lists.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/ops.h"
#include "kernels/scratch.h"
#include "parallel/top_k_exchange.h"
#include "tests/parallel/device_tensor.h"
#include "tests/parallel/group_cases.h"

namespace tamis {
namespace {

constexpr size_t kScratchBytes = size_t{64} << 20;

struct ListShape {
  int64_t seqs, heads, k_max, n;
};

// What every rank brings, made on every rank alike.
struct Lists {
  Lists(const ListShape& shape, int ranks, bool ties, uint32_t seed);

  std::vector<int32_t> begins, ends, ks;  // [S]
  std::vector<int32_t> positions;         // [W, S, Hs, k_max]
  std::vector<float> scores;              // [W, S, Hs, k_max]
};

TensorView View(std::vector<int32_t>& values, Shape shape) {
  return {values.data(), shape, DType::kI32, DeviceKind::kCpu};
}
TensorView View(std::vector<float>& values, Shape shape) {
  return {values.data(), shape, DType::kF32, DeviceKind::kCpu};
}

float RandomScore(bool ties, std::mt19937& random) {
  constexpr float kSpecials[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1.0f, -2.5f};
  if (ties) return kSpecials[random() % 7];
  return std::normal_distribution<float>(5.0f, 2.0f)(random);
}

Lists::Lists(const ListShape& shape, int ranks, bool ties, uint32_t seed) {
  std::mt19937 random(seed);
  Scratch scratch(Buffer(MemoryKind::kCpu, kScratchBytes, "scratch"));
  for (int64_t s = 0; s < shape.seqs; ++s) {  // row 1 selects nothing, the last all it may
    begins.push_back(static_cast<int32_t>(random() % 5));
    ends.push_back(static_cast<int32_t>(shape.n - static_cast<int64_t>(random() % 5)));
    const auto some = static_cast<int32_t>(random() % static_cast<uint32_t>(shape.k_max));
    ks.push_back(s == 1 ? 0 : static_cast<int32_t>(s + 1 == shape.seqs ? shape.k_max : some));
  }
  const CandidateView candidates = {View(begins, {shape.seqs}), View(ends, {shape.seqs}),
                                    View(ks, {shape.seqs})};
  const Shape list_shape = {shape.seqs, shape.heads, shape.k_max};
  const auto per_rank = static_cast<size_t>(list_shape.elements());
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<float> all(static_cast<size_t>(shape.seqs * shape.heads * shape.n));
    for (float& score : all) score = RandomScore(ties, random);
    std::vector<int32_t> top(per_rank), count(static_cast<size_t>(shape.seqs));
    std::vector<float> top_scores(per_rank);
    ops::TopK(View(top, list_shape), View(top_scores, list_shape), View(count, {shape.seqs}),
              View(all, {shape.seqs, shape.heads, shape.n}), candidates, scratch, Stream::Cpu());
    positions.insert(positions.end(), top.begin(), top.end());
    scores.insert(scores.end(), top_scores.begin(), top_scores.end());
  }
}

template <typename T>
std::string RankBytes(const std::vector<T>& values, int rank, int ranks) {
  const size_t count = values.size() / static_cast<size_t>(ranks);
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(count) * rank;
  return BytesOf(std::vector<T>(begin, begin + static_cast<std::ptrdiff_t>(count)));
}

void ExpectExchange(Group& group, const Stream& stream, const ListShape& shape, Slice peers,
                    bool ties, uint32_t seed) {
  Collectives& collectives = *group.collectives;
  const int rank = collectives.rank(), size = collectives.size();
  Lists lists(shape, size, ties, seed);
  const Shape list = {shape.seqs, shape.heads, shape.k_max};
  const Shape gathered = {size, list.elements()};
  const auto on_device = [&](const std::vector<int32_t>& values) {
    return TestTensor(BytesOf(values), {shape.seqs}, DType::kI32, stream);
  };
  const TestTensor begin = on_device(lists.begins), end = on_device(lists.ends);
  const TestTensor k = on_device(lists.ks);
  const TestTensor local(RankBytes(lists.positions, rank, size), list, DType::kI32, stream);
  const TestTensor local_scores(RankBytes(lists.scores, rank, size), list, DType::kF32, stream);
  TestTensor positions(list, DType::kI32, stream), count({shape.seqs}, DType::kI32, stream);
  const TestTensor all(gathered, DType::kI32, stream), all_scores(gathered, DType::kF32, stream);
  Scratch scratch(Buffer(MemoryOf(stream.device()), kScratchBytes, "scratch"));
  collectives.ExchangeTopK({positions.view(), count.view(), local.view(), local_scores.view(),
                            all.view(), all_scores.view()},
                           {begin.view(), end.view(), k.view()}, peers, scratch, stream);

  Scratch host_scratch(Buffer(MemoryKind::kCpu, kScratchBytes, "scratch"));
  std::vector<int32_t> want(static_cast<size_t>(list.elements()));
  std::vector<int32_t> want_count(static_cast<size_t>(shape.seqs));
  ops::MergeTopK(View(want, list), View(want_count, {shape.seqs}),
                 Rows(View(lists.positions, gathered), peers.begin, peers.count),
                 Rows(View(lists.scores, gathered), peers.begin, peers.count),
                 {View(lists.begins, {shape.seqs}), View(lists.ends, {shape.seqs}),
                  View(lists.ks, {shape.seqs})},
                 host_scratch, Stream::Cpu());
  EXPECT_EQ(ValuesOf<int32_t>(count.Get()), want_count);
  const std::vector<int32_t> got = ValuesOf<int32_t>(positions.Get());
  const auto differ = std::mismatch(got.begin(), got.end(), want.begin());
  if (differ.first == got.end()) return;
  ADD_FAILURE() << "k_max " << shape.k_max << ", n " << shape.n << ", peers from " << peers.begin
                << " to " << peers.begin + peers.count - 1 << " of " << size
                << (ties ? ", ties" : "") << ": entry " << differ.first - got.begin() << " is "
                << *differ.first << ", not " << *differ.second;
}

void ExpectExchanges(Group& group, const Stream& stream, bool ties) {
  const int size = group.collectives->size();
  std::vector<ListShape> shapes = {{1, 1, 1, 9}, {3, 2, 7, 20}, {5, 1, 64, 80}, {2, 1, 100, 500}};
  if (stream.device() == DeviceKind::kCuda) {
    shapes.push_back({3, 1, 2048, 6000});
    shapes.push_back({130, 1, 256, 600});  // more rows than blocks run at once
  }
  uint32_t seed = 1;
  for (const ListShape& shape : shapes) {
    ExpectExchange(group, stream, shape, {0, size}, ties, seed++);
    // Replicas of a KV head agree among themselves.
    if (size > 2) ExpectExchange(group, stream, shape, {1, size - 1}, ties, seed++);
  }
}

}  // namespace

void ExchangesLists(Group& group, const Stream& stream) { ExpectExchanges(group, stream, false); }

void ExchangesListsWithTies(Group& group, const Stream& stream) {
  ExpectExchanges(group, stream, true);
}

}  // namespace tamis
