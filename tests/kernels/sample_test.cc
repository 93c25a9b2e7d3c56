// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/ops.h"
#include "kernels/philox.h"
#include "tests/kernels/test_tensor.h"

namespace tamis {
namespace {

using ::testing::ElementsAre;
using testing::TestScratch;
using testing::TestTensor;

struct Params {
  float temperature = 1.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  uint64_t seed = 1;
};

struct Sampled {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<int32_t> top_tokens;
  std::vector<float> top_logprobs;
};

// Samples `rows` rows of the same logits at positions first_position, first_position + 1, ...
Sampled RunSample(const std::vector<float>& logits, int64_t rows, const Params& p,
                  int32_t first_position = 0, int64_t num_top = 0) {
  const auto vocab = static_cast<int64_t>(logits.size());
  TestTensor all({rows, vocab}, DType::kF32);
  TestTensor temperature({rows}, DType::kF32), top_p({rows}, DType::kF32);
  TestTensor min_p({rows}, DType::kF32), seed({rows}, DType::kU64);
  TestTensor top_k({rows}, DType::kI32), position({rows}, DType::kI32);
  for (int64_t s = 0; s < rows; ++s) {
    for (int64_t v = 0; v < vocab; ++v) all.Set(s * vocab + v, logits[static_cast<size_t>(v)]);
    temperature.Set(s, p.temperature);
    top_p.Set(s, p.top_p);
    min_p.Set(s, p.min_p);
    top_k.SetInt(s, p.top_k);
    seed.view().As<uint64_t>()[s] = p.seed;
    position.SetInt(s, first_position + static_cast<int32_t>(s));
  }
  const TestTensor tokens({rows}, DType::kI32), logprobs({rows}, DType::kF32);
  const TestTensor top_tokens({rows, num_top}, DType::kI32);
  const TestTensor top_logprobs({rows, num_top}, DType::kF32);
  Scratch scratch = TestScratch();
  ops::Sample(tokens, logprobs, top_tokens, top_logprobs, all,
              {temperature, top_k, top_p, min_p, seed, position}, scratch, Stream::Cpu());
  return {tokens.ToInts(), logprobs.ToVector(), top_tokens.ToInts(), top_logprobs.ToVector()};
}

std::vector<float> RandomLogits(int64_t vocab, std::mt19937& random, float scale = 2.0f) {
  return TestTensor::Random({vocab}, DType::kF32, random, scale).ToVector();
}

// The tokens that may be drawn, by sorting and in double precision.
std::vector<int32_t> AllowedTokens(const std::vector<float>& logits, const Params& p) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto scaled = [&](int32_t v) {
    return static_cast<double>(logits[static_cast<size_t>(v)]) / p.temperature;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return scaled(a) > scaled(b); });
  const double top = scaled(order[0]);
  std::erase_if(order, [&](int32_t v) { return std::exp(scaled(v) - top) < p.min_p; });
  if (p.top_k > 0 && static_cast<size_t>(p.top_k) < order.size()) {
    order.resize(static_cast<size_t>(p.top_k));
  }
  double total = 0.0;
  for (const int32_t v : order) total += std::exp(scaled(v) - top);
  if (p.top_p < 1.0f) {
    double mass = 0.0;
    size_t kept = 0;
    while (kept < order.size() && (kept == 0 || mass < p.top_p * total)) {
      mass += std::exp(scaled(order[kept++]) - top);
    }
    order.resize(kept);
  }
  return order;
}

TEST(SampleTest, GreedyTakesTheFirstOfEqualsAndGivesLogSoftmax) {
  const std::vector<float> logits = {-0.0f, 2.0f, std::log(2.0f), 2.0f, 0.0f};
  const Sampled out = RunSample(logits, 1, {.temperature = 0.0f}, 0, 5);
  EXPECT_THAT(out.tokens, ElementsAre(1));
  const double lse = std::log(2.0 + 2.0 + 2.0 * std::exp(2.0));
  EXPECT_NEAR(out.logprobs[0], 2.0 - lse, 1e-6);
  EXPECT_THAT(out.top_tokens, ElementsAre(1, 3, 2, 0, 4));
  EXPECT_NEAR(out.top_logprobs[2], std::log(2.0) - lse, 1e-6);
}

TEST(SampleTest, NanNeverWins) {
  const std::vector<float> logits = {std::nanf(""), -5.0f, std::nanf(""), -7.0f};
  EXPECT_THAT(RunSample(logits, 1, {.temperature = 0.0f}).tokens, ElementsAre(1));
  for (const int32_t token : RunSample(logits, 200, {.temperature = 50.0f}).tokens) {
    EXPECT_EQ(token % 2, 1);
  }
}

TEST(SampleTest, TemperaturesThatOverflowTakeTheLikeliest) {
  const std::vector<float> logits = {12.5f, -3, 20, 0, -7.25f};
  for (const float temperature : {1e-38f, 1e-45f}) {
    for (const float top_p : {1.0f, 0.5f}) {
      for (const float min_p : {0.0f, 0.1f}) {
        EXPECT_THAT(RunSample(logits, 2, {temperature, 0, top_p, min_p}).tokens, ElementsAre(2, 2));
      }
    }
  }
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(RunSample({0, 1, infinity, 3}, 2, {}).tokens, ElementsAre(2, 2));
}

TEST(SampleTest, DrawsByTheDocumentedNoiseAmongTheAllowed) {
  std::mt19937 random(55);
  int decided = 0;
  for (int round = 0; round < 400; ++round) {
    const std::vector<float> logits =
        RandomLogits(1 + static_cast<int64_t>(random() % 300), random);
    const Params p{.temperature = 0.2f + static_cast<float>(random() % 30) / 10.0f,
                   .top_k = static_cast<int32_t>(random() % 3 == 0 ? 0 : random() % 40),
                   .top_p = random() % 3 == 0 ? 1.0f : static_cast<float>(random() % 100) / 100.0f,
                   .min_p = random() % 3 == 0 ? static_cast<float>(random() % 50) / 500.0f : 0.0f,
                   .seed = (uint64_t{random()} << 32) + random()};
    const std::vector<int32_t> allowed = AllowedTokens(logits, p);
    const std::vector<int32_t> tokens = RunSample(logits, 4, p, 70).tokens;
    for (size_t s = 0; s < tokens.size(); ++s) {
      double best = -1e300, second = -1e300;
      int32_t winner = -1;
      for (const int32_t v : allowed) {
        const auto index = static_cast<uint32_t>(v);
        const float u = UniformOpen(Philox(p.seed, index / 4, 70 + s).word[index % 4]);
        const double value = static_cast<double>(logits[index]) / p.temperature -
                             std::log(-std::log(static_cast<double>(u)));
        second = std::max(second, std::min(best, value));
        if (value > best) winner = v;
        best = std::max(best, value);
      }
      if (best - second < 1e-4) continue;  // float32 may order these two either way
      ++decided;
      EXPECT_EQ(tokens[s], winner) << "round " << round;
    }
  }
  EXPECT_GT(decided, 1500);
}

TEST(SampleTest, MasksLetEveryAllowedTokenThroughAndNoOther) {
  const std::vector<float> logits = {1.0f, 0.5f, 0.0f, -0.5f, -1.0f, 0.5f};
  for (const Params& p : {Params{.top_k = 2}, Params{.top_p = 0.6f}, Params{.min_p = 0.5f},
                          Params{.temperature = 3.0f, .top_k = 4, .top_p = 0.7f},
                          Params{.top_p = 0.0f}, Params{.top_k = 1, .min_p = 1.0f}}) {
    std::vector<int32_t> seen = RunSample(logits, 3000, p).tokens;
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    std::vector<int32_t> allowed = AllowedTokens(logits, p);
    std::sort(allowed.begin(), allowed.end());
    EXPECT_EQ(seen, allowed);
  }
}

TEST(SampleTest, FrequenciesFollowTheSoftmax) {
  std::mt19937 random(12);
  const std::vector<float> logits = RandomLogits(11, random, 1.0f);
  constexpr int64_t kDraws = 50000;
  constexpr float kTemperature = 0.7f;
  std::vector<double> seen(11);
  const Sampled sampled = RunSample(logits, kDraws, {.temperature = kTemperature, .seed = 77});
  for (const int32_t token : sampled.tokens) ++seen[static_cast<size_t>(token)];
  double total = 0.0;
  for (const float x : logits) total += std::exp(static_cast<double>(x) / kTemperature);
  double chi_square = 0.0;
  for (size_t v = 0; v < 11; ++v) {
    const double expected =
        kDraws * std::exp(static_cast<double>(logits[v]) / kTemperature) / total;
    chi_square += (seen[v] - expected) * (seen[v] - expected) / expected;
  }
  EXPECT_LT(chi_square, 29.6);  // 10 degrees of freedom: exceeded once in a thousand seeds
}

TEST(SampleTest, DependsOnSeedAndPositionOnly) {
  std::mt19937 random(5);
  const std::vector<float> logits = RandomLogits(5000, random, 1.0f);
  const Params p{.seed = 9};
  const std::vector<int32_t> all = RunSample(logits, 20, p, 100).tokens;
  EXPECT_EQ(RunSample(logits, 20, p, 100).tokens, all);
  EXPECT_EQ(RunSample(logits, 1, p, 113).tokens[0], all[13]);
  EXPECT_NE(RunSample(logits, 20, {.seed = 10}, 100).tokens, all);
  EXPECT_NE(RunSample(logits, 20, p, 120).tokens, all);
}

}  // namespace
}  // namespace tamis
