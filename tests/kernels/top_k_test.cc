// SPDX-License-Identifier: Apache-2.0
// TopK and MergeTopK against a stable sort by the order's definition, on many rows full of ties.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ops.h"
#include "tests/kernels/test_tensor.h"

namespace tamis {
namespace {

using ::testing::ElementsAre;
using testing::TestScratch;
using testing::TestTensor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The order in words: NaN below everything, then by value (-0 and +0 tie), then by position.
std::vector<int32_t> ExpectedTopK(const std::vector<float>& scores, int32_t begin, int32_t end,
                                  int32_t k) {
  std::vector<int32_t> positions;
  for (int32_t p = begin; p < end; ++p) positions.push_back(p);
  std::stable_sort(positions.begin(), positions.end(), [&](int32_t a, int32_t b) {
    const float x = scores[static_cast<size_t>(a)];
    const float y = scores[static_cast<size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x);
    return x > y;
  });
  positions.resize(static_cast<size_t>(std::clamp(k, 0, std::max(0, end - begin))));
  std::sort(positions.begin(), positions.end());
  return positions;
}

// Mostly few distinct values, so that ties decide; sometimes specials; sometimes all different.
float RandomScore(int style, std::mt19937& random) {
  const auto roll = random();
  switch (style) {
    case 0: return static_cast<float>(roll % 3) - 1.0f;
    case 1: {
      constexpr float kSpecials[] = {0.0f, -0.0f, kInfinity, -kInfinity, 1.0f};
      const auto i = roll % 6;
      return i == 5 ? std::nanf("") : kSpecials[i];
    }
    case 2: return 0.25f;
    default: return std::normal_distribution<float>()(random);
  }
}

struct Lists {
  Lists(int64_t S, int64_t Hs, int64_t k_max)
      : positions({S, Hs, k_max}, DType::kI32),
        scores({S, Hs, k_max}, DType::kF32),
        count({S}, DType::kI32) {}
  TestTensor positions, scores, count;
};

TEST(TopKTest, ByHand) {
  const TestTensor scores = TestTensor::Floats(
      {1, 1, 8}, DType::kF32, {9.0f, 1.0f, -0.0f, 3.0f, 0.0f, std::nanf(""), 3.0f, 9.0f});
  const TestTensor begin = TestTensor::Ints({1}), end = TestTensor::Ints({7});
  const TestTensor k = TestTensor::Ints({4});
  Lists lists(1, 1, 6);
  Scratch scratch = TestScratch();
  ops::TopK(lists.positions, lists.scores, lists.count, scores, {begin, end, k}, scratch,
            Stream::Cpu());
  EXPECT_THAT(lists.count.ToInts(), ElementsAre(4));
  EXPECT_THAT(lists.positions.ToInts(), ElementsAre(1, 2, 3, 6, -1, -1));
  EXPECT_THAT(lists.scores.ToVector(), ElementsAre(1, 0, 3, 3, -kInfinity, -kInfinity));
  EXPECT_FALSE(std::signbit(lists.scores.At(1)));
}

TEST(TopKTest, EqualsASortOnTenThousandRows) {
  std::mt19937 random(4711);
  Scratch scratch = TestScratch();
  constexpr int64_t kS = 3, kHs = 2, kN = 70;
  for (int round = 0; round < 2000; ++round) {
    const auto k_max = static_cast<int32_t>(1 + random() % 80);
    std::vector<int32_t> begins, ends, ks;
    TestTensor scores({kS, kHs, kN}, DType::kF32);
    for (int64_t s = 0; s < kS; ++s) {
      begins.push_back(static_cast<int32_t>(random() % 20));
      ends.push_back(static_cast<int32_t>(random() % (kN + 1)));  // often below begin
      ks.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(k_max + 1)));
    }
    for (int64_t i = 0; i < scores.size(); ++i) scores.Set(i, RandomScore(round % 4, random));
    const TestTensor begin = TestTensor::Ints(begins), end = TestTensor::Ints(ends);
    const TestTensor k = TestTensor::Ints(ks);
    Lists lists(kS, kHs, k_max);
    ops::TopK(lists.positions, lists.scores, lists.count, scores, {begin, end, k}, scratch,
              Stream::Cpu());
    for (int64_t row = 0; row < kS * kHs; ++row) {
      const auto s = static_cast<size_t>(row / kHs);
      std::vector<float> row_scores;
      for (int64_t p = 0; p < kN; ++p) row_scores.push_back(scores.At(row * kN + p));
      const std::vector<int32_t> expected = ExpectedTopK(row_scores, begins[s], ends[s], ks[s]);
      ASSERT_EQ(lists.count.Int(row / kHs), static_cast<int32_t>(expected.size()));
      for (int32_t i = 0; i < k_max; ++i) {
        const int64_t at = row * k_max + i;
        if (static_cast<size_t>(i) < expected.size()) {
          const int32_t p = expected[static_cast<size_t>(i)];
          ASSERT_EQ(lists.positions.Int(at), p) << "round " << round;
          const float score = row_scores[static_cast<size_t>(p)];
          if (!std::isnan(score)) {
            ASSERT_EQ(lists.scores.At(at), score);
          }
        } else {
          ASSERT_EQ(lists.positions.Int(at), -1);
          ASSERT_EQ(lists.scores.At(at), -kInfinity);
        }
      }
    }
  }
}

// One rank sees the maximum over all heads; W ranks see that of their own heads each.
TEST(MergeTopKTest, EqualsTheGlobalTopKAtEveryRankCount) {
  std::mt19937 random(815);
  Scratch scratch = TestScratch();
  constexpr int64_t kS = 2, kHs = 2, kN = 50;
  for (int round = 0; round < 3000; ++round) {
    constexpr int64_t kRanks[] = {1, 2, 3, 4, 5, 8};
    const int64_t ranks = kRanks[round % 6];
    const auto k_max = static_cast<int32_t>(1 + random() % 60);
    std::vector<int32_t> begins, ends, ks;
    for (int64_t s = 0; s < kS; ++s) {
      begins.push_back(static_cast<int32_t>(random() % 10));
      ends.push_back(static_cast<int32_t>(random() % (kN + 1)));
      ks.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(k_max + 1)));
    }
    const TestTensor begin = TestTensor::Ints(begins), end = TestTensor::Ints(ends);
    const TestTensor k = TestTensor::Ints(ks);
    const CandidateView candidates{begin, end, k};
    TestTensor best({kS, kHs, kN}, DType::kF32);  // stays NaN where every rank has NaN
    TestTensor list_positions({ranks, kS * kHs * k_max}, DType::kI32);
    TestTensor list_scores({ranks, kS * kHs * k_max}, DType::kF32);
    for (int64_t w = 0; w < ranks; ++w) {
      TestTensor scores({kS, kHs, kN}, DType::kF32);
      for (int64_t i = 0; i < scores.size(); ++i) {
        scores.Set(i, RandomScore(round % 4, random));
        best.Set(i, std::fmax(best.At(i), scores.At(i)));
      }
      Lists lists(kS, kHs, k_max);
      ops::TopK(lists.positions, lists.scores, lists.count, scores, candidates, scratch,
                Stream::Cpu());
      for (int64_t i = 0; i < lists.positions.size(); ++i) {
        list_positions.SetInt(w * lists.positions.size() + i, lists.positions.Int(i));
        list_scores.Set(w * lists.positions.size() + i, lists.scores.At(i));
      }
    }
    Lists global(kS, kHs, k_max), merged(kS, kHs, k_max);
    ops::TopK(global.positions, global.scores, global.count, best, candidates, scratch,
              Stream::Cpu());
    ops::MergeTopK(merged.positions, merged.count, list_positions, list_scores, candidates, scratch,
                   Stream::Cpu());
    ASSERT_EQ(merged.count.ToInts(), global.count.ToInts()) << "round " << round;
    ASSERT_EQ(merged.positions.ToInts(), global.positions.ToInts()) << ranks << " ranks";
  }
}

TEST(TopKDeathTest, ImpossibleCandidatesDie) {
  Scratch scratch = TestScratch();
  const TestTensor scores = TestTensor::Floats({1, 1, 2}, DType::kF32, {1.0f, 2.0f});
  const TestTensor zero = TestTensor::Ints({0}), two = TestTensor::Ints({2});
  const TestTensor three = TestTensor::Ints({3});
  Lists lists(1, 1, 2);
  const auto run = [&](const CandidateView& candidates) {
    ops::TopK(lists.positions, lists.scores, lists.count, scores, candidates, scratch,
              Stream::Cpu());
  };
  EXPECT_DEATH(run({zero, two, three}), "k 3 of 2");
  EXPECT_DEATH(run({zero, three, two}), "candidates \\[0, 3\\)");
}

}  // namespace
}  // namespace tamis
