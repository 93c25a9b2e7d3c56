// SPDX-License-Identifier: Apache-2.0
// Observation-window scores against their definition in double precision.
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/window_ops.h"
#include "tests/kernels/paged_cache.h"
#include "tests/kernels/test_tensor.h"

namespace tamis::testing {
namespace {

constexpr int64_t kWindow = 5;
constexpr int64_t kScoreLen = 1300;

class WindowScoresTest : public ::testing::TestWithParam<DType> {
 protected:
  std::mt19937 random_{3};
  Scratch scratch_ = TestScratch();
  const Stream cpu_ = Stream::Cpu();
};

TEST_P(WindowScoresTest, EqualTheDefinition) {
  const CacheSizes sizes{2, 3, 20, 16};
  // Longer than a chunk, shorter than the window, nothing to score, candidates within the window.
  const std::vector<int32_t> contexts = {1201, 4, 30, 60};
  const std::vector<int32_t> begins = {3, 0, 9, 0}, ends = {1190, 3, 9, 59};
  const std::vector<int32_t> slots = {4, 0, 2, 1};
  const PagedCache cache(sizes, contexts, GetParam(), random_);
  const TestTensor window = TestTensor::Random({5, kWindow, sizes.q_width()}, GetParam(), random_);
  const TestTensor begin = TestTensor::Ints(begins), end = TestTensor::Ints(ends);
  const TestTensor k = TestTensor::Ints({1, 1, 1, 1}), slot = TestTensor::Ints(slots);
  const CandidateView candidates{begin, end, k};
  for (const auto lse_scope : {ops::LseScope::kAll, ops::LseScope::kCandidates}) {
    for (const int64_t rows : {int64_t{1}, sizes.kv_heads}) {
      const TestTensor scores({4, rows, kWindow, kScoreLen}, DType::kF32);
      ops::WindowScores(scores, window, slot, cache.pages(), cache.decode(), candidates, lse_scope,
                        sizes.scale(), scratch_, cpu_);
      for (int64_t s = 0; s < 4; ++s) {
        const auto i = static_cast<size_t>(s);
        for (int64_t age = 0; age < kWindow; ++age) {
          const int64_t query = contexts[i] - 1 - age;
          const int64_t place = slots[i] * kWindow + (query + kWindow) % kWindow;
          std::vector<std::vector<double>> best(
              static_cast<size_t>(rows),
              std::vector<double>(static_cast<size_t>(contexts[i]), 0.0));
          for (int64_t h = 0; h < sizes.kv_heads * sizes.group && query >= 0; ++h) {
            const int64_t at = place * sizes.q_width() + h * sizes.head_dim;
            const int64_t kv_head = h / sizes.group;
            double sum = 0.0;
            for (int32_t j = 0; j <= query; ++j) {
              const bool counts = j >= begins[i] && j < ends[i];
              if (counts || lse_scope == ops::LseScope::kAll) {
                sum += std::exp(cache.Logit(window, at, s, j, kv_head));
              }
            }
            for (int32_t j = 0; j <= query; ++j) {
              double& p = best[rows > 1 ? static_cast<size_t>(kv_head) : 0][static_cast<size_t>(j)];
              p = std::max(p, std::exp(cache.Logit(window, at, s, j, kv_head)) / sum);
            }
          }
          for (int64_t row = 0; row < rows; ++row) {
            for (int32_t j = begins[i]; j < ends[i]; ++j) {
              ASSERT_NEAR(scores.At(((s * rows + row) * kWindow + age) * kScoreLen + j),
                          best[static_cast<size_t>(row)][static_cast<size_t>(j)], 2e-5)
                  << "sequence " << s << ", age " << age << ", position " << j;
            }
          }
        }
      }
    }
  }
}

TEST_P(WindowScoresTest, KeepsTheQueriesOfTheLastTokens) {
  const int64_t width = 12;
  const TestTensor window = TestTensor::Random({3, 4, width}, GetParam(), random_);
  const std::vector<float> before = window.ToVector();
  const TestTensor wide = TestTensor::Random({4, 2 * width}, GetParam(), random_);
  const TensorView q = Columns(wide.view(), 0, width);
  const TestTensor positions = TestTensor::Ints({9, 10, 11, 6});
  const TestTensor slots = TestTensor::Ints({-1, 2, 2, 0});
  ops::StoreWindowQueries(window, q, positions, slots, cpu_);
  std::vector<float> expected = before;
  const auto keep = [&](int64_t row, int64_t slot, int64_t place) {
    for (int64_t i = 0; i < width; ++i) {
      expected[static_cast<size_t>((slot * 4 + place) * width + i)] = wide.At(row * 2 * width + i);
    }
  };
  keep(1, 2, 10 % 4);
  keep(2, 2, 11 % 4);
  keep(3, 0, 6 % 4);
  EXPECT_EQ(window.ToVector(), expected);
}

INSTANTIATE_TEST_SUITE_P(Types, WindowScoresTest, ::testing::ValuesIn(kFloatTypes));

TEST(SumWindowScoresTest, WeighsByAge) {
  const TestTensor parts =
      TestTensor::Floats({1, 1, 3, 2}, DType::kF32, {1.0f, 7.0f, 2.0f, 7.0f, 4.0f, 7.0f});
  const TestTensor begin = TestTensor::Ints({0}), end = TestTensor::Ints({1});
  const TestTensor scores = TestTensor::Floats({1, 1, 2}, DType::kF32, {-1.0f, -1.0f});
  ops::SumWindowScores(scores, parts, {begin, end, begin}, ScoreKind::kUniform, Stream::Cpu());
  EXPECT_EQ(scores.ToVector(), (std::vector<float>{7.0f, -1.0f}));
  ops::SumWindowScores(scores, parts, {begin, end, begin}, ScoreKind::kExp, Stream::Cpu());
  EXPECT_EQ(scores.ToVector(), (std::vector<float>{1.0f + 1.0f + 1.0f, -1.0f}));
}

TEST(WindowScoresDeathTest, FilterAttentionHasNoWindow) {
  std::mt19937 random(1);
  const CacheSizes sizes{1, 1, 16, 16};
  const PagedCache cache(sizes, {20}, DType::kF32, random);
  const TestTensor q = TestTensor::Random({1, 16}, DType::kF32, random);
  const TestTensor out({1, 16}, DType::kF32), scores({1, 1, 20}, DType::kF32);
  const TestTensor one = TestTensor::Ints({1});
  Scratch scratch = TestScratch();
  EXPECT_DEATH(
      ops::FilterAttention(out, scores, q, cache.pages(), cache.decode(), {one, one, one},
                           ScoreKind::kExp, ops::LseScope::kAll, 1.0f, scratch, Stream::Cpu()),
      "kind is not a window score");
}

}  // namespace
}  // namespace tamis::testing
