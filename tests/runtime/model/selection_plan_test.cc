// SPDX-License-Identifier: Apache-2.0
// The integers of a selection against its definition taken literally, token by token, over every
// small combination; and the rules one by one.
#include "runtime/model/selection_plan.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"

namespace tamis {
namespace {

SelectionConfig SmallConfig() {
  SelectionConfig config;
  config.filter_layers = {1};
  config.min_context = 0;
  config.sink_tokens = 2;
  config.recent_tokens = 3;
  config.budget = {8, 0.0};
  return config;
}

SelectionPlan Plan(const SelectionConfig& config, int64_t num_tokens, int64_t prompt_len) {
  return PlanSelection(config, SelectionMode::kAuto, config.budget, num_tokens, prompt_len);
}

// README.md, "Selection", rules 1 and 2, in sets.
struct Literal {
  std::vector<int64_t> candidates;
  int64_t k_top = 0;
  bool dense() const { return k_top <= 0 || k_top >= static_cast<int64_t>(candidates.size()); }
};

Literal ByDefinition(const SelectionConfig& config, int64_t n, int64_t prompt_len) {
  const bool prompt = config.candidates == SelectionCandidates::kPrompt;
  Literal literal;
  int64_t paid = 0;
  for (int64_t j = 0; j < n; ++j) {
    const bool forced =
        j < config.sink_tokens || j >= n - std::max<int64_t>(1, config.recent_tokens);
    const bool counts = !prompt || j < prompt_len;
    if (forced && counts) ++paid;
    if (!forced && counts) literal.candidates.push_back(j);
  }
  const int64_t k =
      config.budget.count > 0
          ? config.budget.count
          : static_cast<int64_t>(
                std::floor(config.budget.fraction * static_cast<double>(prompt ? prompt_len : n)));
  literal.k_top = k - paid;
  return literal;
}

TEST(SelectionPlanTest, EqualsTheDefinitionOnEverySmallCase) {
  SelectionConfig config = SmallConfig();
  int64_t num_sparse = 0;
  for (const auto candidates : {SelectionCandidates::kHistory, SelectionCandidates::kPrompt}) {
    config.candidates = candidates;
    for (config.sink_tokens = 0; config.sink_tokens <= 4; ++config.sink_tokens) {
      for (config.recent_tokens = 0; config.recent_tokens <= 4; ++config.recent_tokens) {
        for (int64_t budget = 1; budget <= 24; ++budget) {
          const bool fraction = budget > 12;
          config.budget = fraction ? SelectionBudget{0, static_cast<double>(budget - 12) / 12.0}
                                   : SelectionBudget{budget, 0.0};
          for (int64_t n = 1; n <= 18; ++n) {
            for (int64_t prompt_len = 0; prompt_len <= n; ++prompt_len) {
              const Literal literal = ByDefinition(config, n, prompt_len);
              const SelectionPlan plan = Plan(config, n, prompt_len);
              ASSERT_EQ(plan.sparse(), !literal.dense())
                  << "n " << n << ", prompt " << prompt_len << ", budget " << budget << ", sinks "
                  << config.sink_tokens << ", recents " << config.recent_tokens;
              if (!plan.sparse()) {
                ASSERT_EQ(plan, SelectionPlan());
                continue;
              }
              ++num_sparse;
              ASSERT_EQ(plan.k, literal.k_top);
              ASSERT_EQ(plan.candidate_begin, literal.candidates.front());
              ASSERT_EQ(plan.candidate_end, literal.candidates.back() + 1);
              ASSERT_EQ(plan.candidate_end - plan.candidate_begin,
                        static_cast<int64_t>(literal.candidates.size()));
              // Attended besides the list is exactly what does not compete.
              ASSERT_EQ(plan.sink_end, plan.candidate_begin);
              ASSERT_EQ(plan.tail_begin, plan.candidate_end);
            }
          }
        }
      }
    }
  }
  EXPECT_GT(num_sparse, 10000);
}

TEST(SelectionPlanTest, ByHand) {
  SelectionConfig config = SmallConfig();
  // 2 sinks and 3 recents of 20 tokens use 5 of 8 places; 15 compete for 3.
  EXPECT_EQ(Plan(config, 20, 12), (SelectionPlan{2, 17, 3, 2, 17}));
  // Of a prompt of 12, 2 are forced; 8 generated tokens are attended besides.
  config.candidates = SelectionCandidates::kPrompt;
  EXPECT_EQ(Plan(config, 20, 12), (SelectionPlan{2, 12, 6, 2, 12}));
  // Just after the prompt two recents still lie in it.
  EXPECT_EQ(Plan(config, 13, 12), (SelectionPlan{2, 10, 4, 2, 10}));
}

TEST(SelectionPlanTest, DenseWhenNothingIsLeftOut) {
  const SelectionConfig config = SmallConfig();
  EXPECT_TRUE(Plan(config, 9, 5).sparse());
  EXPECT_FALSE(Plan(config, 8, 5).sparse()) << "k covers the candidates";
  EXPECT_FALSE(Plan(config, 1, 1).sparse());
}

TEST(SelectionPlanTest, ModesAndMinContext) {
  SelectionConfig config = SmallConfig();
  config.min_context = 20;
  const auto sparse = [&](SelectionMode mode, int64_t n) {
    return PlanSelection(config, mode, config.budget, n, 5).sparse();
  };
  EXPECT_FALSE(sparse(SelectionMode::kAuto, 19));
  EXPECT_TRUE(sparse(SelectionMode::kAuto, 20));
  EXPECT_TRUE(sparse(SelectionMode::kOn, 19));
  EXPECT_FALSE(sparse(SelectionMode::kOff, 1000));
  config.filter_layers.clear();
  EXPECT_FALSE(sparse(SelectionMode::kOn, 1000)) << "no layer selects";
}

TEST(SelectionPlanTest, FractionsAreFlooredInDouble) {
  SelectionConfig config = SmallConfig();
  config.budget = {0, 0.29};
  // 0.29 * 100 is 28.999999999999996 in double.
  EXPECT_EQ(Plan(config, 100, 50).k, 28 - 5);
  config.candidates = SelectionCandidates::kPrompt;
  EXPECT_EQ(Plan(config, 130, 100).k, 28 - 2);
  EXPECT_EQ(Plan(config, 900, 100).k, 28 - 2) << "of the prompt, however much was generated";
  // A fraction that the forced tokens use up: dense at this step, not an error.
  config.candidates = SelectionCandidates::kHistory;
  EXPECT_FALSE(Plan(config, 17, 10).sparse());
  EXPECT_FALSE(Plan(config, 20, 10).sparse());
  EXPECT_TRUE(Plan(config, 21, 10).sparse());
}

TEST(SelectionPlanTest, RequestsBudgetReplacesTheServers) {
  const SelectionConfig config = SmallConfig();
  EXPECT_EQ(PlanSelection(config, SelectionMode::kAuto, {10, 0.0}, 40, 30).k, 5);
  EXPECT_EQ(PlanSelection(config, SelectionMode::kAuto, {0, 0.5}, 40, 30).k, 15);
}

TEST(SelectionPlanTest, ForceSparseSelectsEveryCandidate) {
  SelectionConfig config = SmallConfig();
  config.force_sparse = true;
  config.min_context = 1000;
  EXPECT_EQ(Plan(config, 20, 12), (SelectionPlan{2, 17, 15, 2, 17}));
  EXPECT_EQ(Plan(config, 6, 3), (SelectionPlan{2, 3, 1, 2, 3}));
  EXPECT_FALSE(Plan(config, 5, 3).sparse()) << "nothing competes";
}

TEST(SelectionPlanTest, PromptEqualsHistoryUntilSomethingIsGenerated) {
  SelectionConfig history = SmallConfig();
  SelectionConfig prompt = SmallConfig();
  prompt.candidates = SelectionCandidates::kPrompt;
  for (int64_t n = 1; n < 60; ++n) {
    EXPECT_EQ(Plan(history, n, n), Plan(prompt, n, n));
    if (n > 12) {
      EXPECT_NE(Plan(history, n, n - 6), Plan(prompt, n, n - 6)) << n;
    }
  }
}

}  // namespace
}  // namespace tamis
