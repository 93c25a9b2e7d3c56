// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/selection_config.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tamis {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr LayerRole D = LayerRole::kDense;
constexpr LayerRole F = LayerRole::kFilter;
constexpr LayerRole S = LayerRole::kSparse;

SelectionConfig Filters(std::vector<int32_t> layers, int64_t wait_layers = 0) {
  SelectionConfig config;
  config.filter_layers = std::move(layers);
  config.wait_layers = wait_layers;
  return config;
}

TEST(SelectionLayersTest, WithoutFiltersAllIsDense) {
  const SelectionLayers layers = MakeSelectionLayers({}, 3);
  EXPECT_THAT(layers.roles, ElementsAre(D, D, D));
  EXPECT_THAT(layers.groups.group_of_layer, ElementsAre(0, 0, 0));
  EXPECT_EQ(layers.groups.num_groups, 1);
}

TEST(SelectionLayersTest, OneGroupPerSegment) {
  const SelectionLayers layers = MakeSelectionLayers(Filters({1, 4}), 8);
  EXPECT_THAT(layers.roles, ElementsAre(D, F, S, S, F, S, S, S));
  EXPECT_THAT(layers.groups.group_of_layer, ElementsAre(0, 0, 1, 1, 0, 2, 2, 2));
  EXPECT_THAT(layers.segment_group, ElementsAre(-1, 1, 1, 1, 2, 2, 2, 2));
  EXPECT_EQ(layers.groups.num_groups, 3);
}

TEST(SelectionLayersTest, WaitLayersAreDense) {
  const SelectionLayers layers = MakeSelectionLayers(Filters({1, 3}, 1), 7);
  // Layer 2 waits, so nothing would use layer 1's selection: it is a dense layer.
  EXPECT_THAT(layers.roles, ElementsAre(D, D, D, F, D, S, S));
  EXPECT_THAT(layers.groups.group_of_layer, ElementsAre(0, 0, 0, 0, 0, 1, 1));
  EXPECT_EQ(layers.groups.num_groups, 2);
}

TEST(SelectionLayersTest, PublishedShapes) {
  const auto num_dense = [](const SelectionLayers& layers) {
    return std::count_if(layers.roles.begin(), layers.roles.end(),
                         [](LayerRole role) { return role != S; });
  };
  EXPECT_EQ(num_dense(MakeSelectionLayers(Filters({2, 8, 18}, 1), 32)), 8);
  EXPECT_EQ(num_dense(MakeSelectionLayers(Filters({2, 8, 18}, 2), 32)), 11);
  EXPECT_EQ(num_dense(MakeSelectionLayers(Filters({4, 19, 41}), 80)), 7);
}

TEST(SelectionConfigTest, DefaultsWithFiltersArePossible) {
  EXPECT_EQ(SelectionConfigProblem(Filters({2, 8, 18}), 32, 131072), "");
  EXPECT_EQ(SelectionConfigProblem({}, 32, 131072), "");
  EXPECT_EQ(SelectionConfigProblem(Filters({2}), 32, 100), "") << "shorter than the budget";
}

TEST(SelectionConfigTest, NamesWhatIsWrong) {
  const auto problem = [](const std::function<void(SelectionConfig&)>& spoil) {
    SelectionConfig config = Filters({2, 8});
    spoil(config);
    return SelectionConfigProblem(config, 12, 4096);
  };
  using C = SelectionConfig;
  EXPECT_THAT(problem([](C& c) { c.filter_layers = {2, 12}; }), HasSubstr("12; it must be"));
  EXPECT_THAT(problem([](C& c) { c.filter_layers = {-1}; }), HasSubstr("between 0 and 11"));
  EXPECT_THAT(problem([](C& c) { c.filter_layers = {8, 2}; }), HasSubstr("2 after 8"));
  EXPECT_THAT(problem([](C& c) { c.filter_layers = {2, 2}; }), HasSubstr("ascend"));
  EXPECT_THAT(problem([](C& c) { c.filter_layers = {11}; }), HasSubstr("no sparse layer"));
  EXPECT_THAT(problem([](C& c) { c.wait_layers = -1; }), HasSubstr("wait_layers is -1"));
  EXPECT_THAT(problem([](C& c) { c.wait_layers = 9; }), HasSubstr("no sparse layer"));
  EXPECT_THAT(problem([](C& c) { c.sink_tokens = -1; }), HasSubstr("sink_tokens is -1"));
  EXPECT_THAT(problem([](C& c) { c.recent_tokens = -4; }), HasSubstr("recent_tokens is -4"));
  EXPECT_THAT(problem([](C& c) { c.min_context = -1; }), HasSubstr("min_context is -1"));
  EXPECT_THAT(problem([](C& c) {
                c.budget = {68, 0.0};
              }),
              HasSubstr("num_selected_tokens is 68; it must be above 68"));
  EXPECT_EQ(problem([](C& c) { c.budget = {69, 0.0}; }), "");
  EXPECT_THAT(problem([](C& c) { c.budget = {0, 0.0}; }), HasSubstr("num_selected_tokens is 0"));
  EXPECT_THAT(problem([](C& c) { c.budget = {0, 1.5}; }), HasSubstr("fraction 1.5"));
  EXPECT_THAT(problem([](C& c) { c.budget = {0, -0.5}; }), HasSubstr("fraction -0.5"));
  EXPECT_THAT(problem([](C& c) { c.budget = {0, std::nan("")}; }), HasSubstr("fraction"));
  EXPECT_EQ(problem([](C& c) { c.budget = {0, 1.0}; }), "");
  EXPECT_THAT(problem([](C& c) { c.max_selected_tokens = 2047; }),
              HasSubstr("comes to 2048 of 4096 tokens; max_selected_tokens allows 2047"));
  EXPECT_THAT(problem([](C& c) { c.lse = ops::LseScope::kCandidates; }),
              HasSubstr("lse is prompt"));
}

TEST(SelectionConfigTest, PromptLseNeedsThePromptToBeWhatCompetes) {
  SelectionConfig config = Filters({2});
  config.lse = ops::LseScope::kCandidates;
  config.candidates = SelectionCandidates::kPrompt;
  config.sink_tokens = 0;
  config.recent_tokens = 1;
  EXPECT_EQ(SelectionConfigProblem(config, 12, 4096), "");
  config.recent_tokens = 2;
  EXPECT_NE(SelectionConfigProblem(config, 12, 4096), "");
}

TEST(SelectionBudgetTest, RequestsStayBelowTheLimit) {
  SelectionConfig config = Filters({2});
  config.max_selected_tokens = 3000;
  const auto problem = [&](const SelectionBudget& budget, int64_t num_tokens_max) {
    return SelectionBudgetProblem(config, budget, num_tokens_max, 8192);
  };
  EXPECT_EQ(problem({3000, 0.0}, 8192), "");
  EXPECT_THAT(problem({3001, 0.0}, 8192), HasSubstr("max_selected_tokens allows 3000"));
  EXPECT_THAT(problem({20, 0.0}, 8192), HasSubstr("num_selected_tokens is 20"));
  EXPECT_EQ(problem({0, 0.5}, 6000), "");
  EXPECT_NE(problem({0, 0.5}, 6002), "");
}

TEST(SelectedTokensMaxTest, IsWhatTheBudgetCanComeTo) {
  SelectionConfig config = Filters({2});
  EXPECT_EQ(SelectedTokensMax({}, 4096), 0);
  EXPECT_EQ(SelectedTokensMax(config, 4096), 2048);
  EXPECT_EQ(SelectedTokensMax(config, 1000), 1000);
  config.budget = {0, 0.25};
  EXPECT_EQ(SelectedTokensMax(config, 4096), 1024);
  config.max_selected_tokens = 3000;
  EXPECT_EQ(SelectedTokensMax(config, 4096), 3000);
  config.force_sparse = true;
  EXPECT_EQ(SelectedTokensMax(config, 4096), 4096);
}

}  // namespace
}  // namespace tamis
