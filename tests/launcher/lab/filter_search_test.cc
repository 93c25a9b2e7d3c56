// SPDX-License-Identifier: Apache-2.0
#include "launcher/lab/filter_search.h"

#include <map>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/lab/case_set.h"
#include "tests/launcher/lab/tiny_lab.h"

namespace tamis {
namespace {

using ::testing::ElementsAre;
using Layers = std::vector<int32_t>;

// Mass held over all layers by a set, from the definition.
double HeldBy(const LayerSimilarity& similarity, const FilterShape& shape, const Layers& filters) {
  double sum = 0.0;
  for (int64_t b = 0; b < shape.num_layers; ++b) {
    int64_t filter = -1;
    for (const int32_t f : filters) filter = f <= b ? f : filter;
    sum += filter < 0 || b <= filter + shape.wait_layers ? 1.0 : similarity.at(filter, b);
  }
  return sum;
}

std::vector<Layers> AllSets(const FilterShape& shape) {
  std::vector<Layers> sets;
  for (uint32_t bits = 0; bits < 1u << shape.num_layers; ++bits) {
    Layers set;
    for (int32_t layer = 0; layer < shape.num_layers; ++layer) {
      if (bits >> layer & 1u) set.push_back(layer);
    }
    if (static_cast<int64_t>(set.size()) == shape.num_filters && Fits(shape, set)) {
      sets.push_back(set);
    }
  }
  return sets;
}

TEST(FilterSearchTest, DynamicProgrammingFindsTheBestOfAllSets) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  for (int round = 0; round < 200; ++round) {
    FilterShape shape{9, 1 + round % 3, round / 3 % 2, 0};
    shape.dense_layers_max = shape.num_filters * (1 + shape.wait_layers) + round % 4;
    LayerSimilarity similarity{9, std::vector<double>(81)};
    for (double& held : similarity.held) held = uniform(random);
    const Layers found = BestBySimilarity(similarity, shape);
    ASSERT_EQ(static_cast<int64_t>(found.size()), shape.num_filters);
    ASSERT_TRUE(Fits(shape, found));
    for (const Layers& set : AllSets(shape)) {
      ASSERT_LE(HeldBy(similarity, shape, set), HeldBy(similarity, shape, found) + 1e-12);
    }
  }
}

TEST(FilterSearchTest, GreedyGrowsThenReplaces) {
  const FilterShape shape{10, 2, 0, 5};
  std::map<Layers, int> asked;
  // 3 is best alone, but 1 and 6 are best together.
  const FilterCost cost = [&](const Layers& filters) {
    ++asked[filters];
    if (filters == Layers{1, 6}) return 0.1;
    if (filters == Layers{3, 6}) return 0.2;
    if (filters.size() == 1) return filters[0] == 3 ? 0.5 : 0.6;
    return 0.4;
  };
  EXPECT_THAT(GreedyFilters(shape, 0, cost), ElementsAre(3, 6));
  EXPECT_THAT(GreedyFilters(shape, 1, cost), ElementsAre(1, 6));
  for (const auto& [filters, times] : asked) {
    EXPECT_TRUE(Fits(shape, filters)) << filters[0];
    EXPECT_LE(filters.size(), 2u);
  }
}

TEST(FilterSearchTest, ShapesSayWhatFits) {
  const FilterShape shape{10, 2, 1, 6};
  EXPECT_EQ(FilterShapeProblem(shape), "");
  EXPECT_TRUE(Fits(shape, {2, 5}));
  EXPECT_FALSE(Fits(shape, {3, 6}));  // 3 + 2 * 2 dense layers
  EXPECT_FALSE(Fits(shape, {2, 4}));  // nothing sparse between
  EXPECT_FALSE(Fits(shape, {2, 8}));  // nor after
  EXPECT_NE(FilterShapeProblem({10, 0, 0, 5}), "");
  EXPECT_NE(FilterShapeProblem({10, 3, 1, 5}), "");
  EXPECT_NE(FilterShapeProblem({4, 4, 0, 6}), "");
}

TEST(FilterSearchTest, ALayersOwnChoiceHoldsMostOfItsMass) {
  const std::unique_ptr<Lab> lab = MakeLab();
  ThreadPool pool(2);
  PlannedCases planned;
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    PlanText("text", Tokens(101, seed), {60, 100, 150}, 12, &planned);
  }
  ASSERT_EQ(planned.cases.size(), 6u);  // 150 is too long
  const CaseSet set = PrefillCases(*lab, planned, 4, nullptr);
  SelectionConfig config;
  config.score = ScoreKind::kSoftmaxMean;
  config.budget = {0, 0.2};
  config.sink_tokens = 1;
  config.recent_tokens = 2;
  const LayerSimilarity similarity =
      MeasureSimilarity(*lab, pool, config, set.cases, 5, 4, nullptr);
  ASSERT_EQ(similarity.num_layers, kLayers);
  for (int64_t b = 0; b < kLayers; ++b) {
    for (int64_t a = 0; a < kLayers; ++a) {
      EXPECT_LE(similarity.at(a, b), similarity.at(b, b));
      EXPECT_GT(similarity.at(a, b), 0.05);
    }
    EXPECT_LT(similarity.at(b, b), 0.9);
  }
  config.budget = {0, 1.0};  // covers everything: dense
  const LayerSimilarity all = MeasureSimilarity(*lab, pool, config, set.cases, 2, 4, nullptr);
  for (const double held : all.held) EXPECT_NEAR(held, 1.0, 1e-6);
}

TEST(CaseSetTest, QuestionsForkTheirPrefix) {
  const std::unique_ptr<Lab> lab = MakeLab();
  PlannedCases planned;
  planned.prefixes = {Tokens(45, 1)};
  for (uint32_t seed = 2; seed <= 4; ++seed) {
    PlannedCase item;
    item.fork_at = 45;
    item.suffix = Tokens(7, seed);
    item.inputs = {1};
    item.targets = {2};
    planned.cases.push_back(item);
  }
  EXPECT_EQ(PrefillTokens(planned), 45 + 3 * 7);
  EXPECT_GE(120, BlocksOf(planned, 8, 2, 4));
  const CaseSet set = PrefillCases(*lab, planned, 9, nullptr);
  ASSERT_EQ(set.cases.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(set.cases[i].begin, 52);
    EXPECT_EQ(set.cases[i].prefix->num_cached, 52);
    EXPECT_EQ(set.cases[i].prefix->num_shared, 5u);
    EXPECT_EQ(set.cases[i].before.back(), planned.cases[i].suffix.back());
    EXPECT_EQ(set.cases[i].before.front(), planned.prefixes[0][43]);
  }
}

}  // namespace
}  // namespace tamis
