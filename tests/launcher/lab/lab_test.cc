// SPDX-License-Identifier: Apache-2.0
// Forks, probes and experiments on a random model of four layers.
#include "launcher/lab/lab.h"

#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/lab/experiment.h"
#include "launcher/lab/lab_probe.h"
#include "tests/launcher/lab/tiny_lab.h"

namespace tamis {
namespace {

SelectionConfig Selection(double fraction) {
  SelectionConfig config;
  config.filter_layers = {0, 2};
  config.budget = {0, fraction};
  config.sink_tokens = 2;
  config.recent_tokens = 4;
  config.min_context = 0;
  return config;
}

Variant VariantOf(const SelectionConfig& config, AttendPolicy policy = AttendPolicy::kSelection) {
  Variant variant;
  variant.config = config;
  variant.policy = policy;
  return variant;
}

// A text of 90 tokens, and one case that decodes its last 20.
struct Text {
  explicit Text(Lab& lab, int64_t begin = 70) {
    const std::vector<int32_t> tokens = Tokens(91, 5);
    lab.Prefill(sequence, std::span(tokens).first(90));
    text.kind = kTextCase;
    text.prefix = &sequence;
    text.begin = begin;
    text.before.assign(tokens.begin() + begin - 8, tokens.begin() + begin);
    text.inputs.assign(tokens.begin() + begin, tokens.end() - 1);
    text.targets.assign(tokens.begin() + begin + 1, tokens.end());
  }
  LabSequence sequence;
  Case text;
};

double MaxDifference(std::span<const float> a, std::span<const float> b) {
  double most = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(double{a[i]} - double{b[i]}));
  }
  return most;
}

TEST(LabTest, ForkedDecodingContinuesItsTextAndLeavesItAlone) {
  const std::unique_ptr<Lab> lab = MakeLab();
  const std::vector<int32_t> tokens = Tokens(60, 1);
  LabSequence whole;
  lab->Prefill(whole, tokens);
  LabDecoder decoder(*lab, LabLayers({}, kLayers), 2, true);
  std::vector<float> first;
  // 37 is inside a block. What the second fork decodes must not reach the first or the original.
  for (int round = 0; round < 2; ++round) {
    LabSequence same = lab->Fork(whole, 37);
    LabSequence other = lab->Fork(whole, 37);
    for (size_t i = 37; i < 60; ++i) {
      const std::vector<LabDecodeRow> rows = {{&same, tokens[i]}, {&other, (tokens[i] + 7) % 50}};
      decoder.Launch(rows);
      const DecodeResult result = decoder.Wait();
      if (i + 1 < 60) continue;
      const std::span<const float> logits = result.row(0, kVocab);
      if (round == 0) first.assign(logits.begin(), logits.end());
      EXPECT_EQ(MaxDifference(logits, first), 0.0);
      EXPECT_GT(MaxDifference(logits, result.row(1, kVocab)), 1e-3);
    }
    lab->Free(same);
    lab->Free(other);
  }
  // The same text decoded from the start of another cache.
  const std::unique_ptr<Lab> fresh = MakeLab();
  LabDecoder alone(*fresh, LabLayers({}, kLayers), 1, true);
  LabSequence sequence;
  for (const int32_t token : tokens) {
    const LabDecodeRow row{&sequence, token};
    alone.Launch({&row, 1});
    if (&token == &tokens.back()) {
      EXPECT_LT(MaxDifference(alone.Wait().row(0, kVocab), first), 1e-4);
    } else {
      alone.Wait();
    }
  }
}

TEST(LabTest, ProbedStepsEqualTheServedForwardPass) {
  for (const SelectionScope scope : {SelectionScope::kGlobal, SelectionScope::kKvHead}) {
    for (const ScoreKind score :
         {ScoreKind::kRawMax, ScoreKind::kSoftmaxMax, ScoreKind::kSoftmaxMean}) {
      const std::unique_ptr<Lab> lab = MakeLab();
      ThreadPool pool(2);
      Text text(*lab);
      SelectionConfig config = Selection(0.2);
      config.scope = scope;
      config.score = score;
      LabDecoder decoder(*lab, LabLayers(config, kLayers), 2, true);
      LabProbe probe(*lab, pool, config, AttendPolicy::kSelection, 2);
      std::vector<LabSequence> forks;
      for (int i = 0; i < 4; ++i) forks.push_back(lab->Fork(text.sequence, 70 - (i % 2) * 13));
      for (int step = 0; step < 10; ++step) {
        std::vector<LabDecodeRow> rows[2];
        for (size_t i = 0; i < 4; ++i) {
          const SelectionPlan plan =
              PlanOf(VariantOf(config), forks[i].num_cached + 1, forks[i].num_cached);
          ASSERT_TRUE(plan.sparse());
          rows[i / 2].push_back({&forks[i], step * 3 % 50, plan});
        }
        decoder.Launch(rows[0]);
        const DecodeResult served = decoder.Wait();
        const DecodeResult probed = probe.Step(rows[1]);
        EXPECT_EQ(MaxDifference(served.logits, probed.logits), 0.0);
        EXPECT_EQ(probe.recall(0, 0), 1.0);
        EXPECT_EQ(probe.recall(1, 2), 1.0);
        EXPECT_LT(probe.recall(0, 1), 1.0);
        EXPECT_GT(probe.recall(1, 3), 0.0);
      }
    }
  }
}

TEST(LabTest, NoSetOfItsSizeHoldsMoreThanTheOracles) {
  const std::unique_ptr<Lab> lab = MakeLab();
  ThreadPool pool(2);
  Text text(*lab);
  const SelectionConfig config = Selection(0.2);
  const Variant variant = VariantOf(config);
  double held[3];
  for (const AttendPolicy policy : {AttendPolicy::kSelection, AttendPolicy::kLayerOracle,
                                    AttendPolicy::kHeavyHitters}) {
    LabProbe probe(*lab, pool, config, policy, 1);
    LabSequence fork = lab->Fork(text.sequence, 70);
    const LabDecodeRow row{&fork, 1, PlanOf(variant, 71, 70)};
    probe.Step({&row, 1});
    // The first sparse layer, where all have the same queries.
    held[static_cast<size_t>(policy)] = probe.recall(0, 1);
    lab->Free(fork);
  }
  EXPECT_GT(held[1], held[0]);
  EXPECT_GE(held[2], held[1]);  // the same mass at the first step, but a set for each KV head
}

TEST(LabTest, HeavyHittersNeverComeBack) {
  const std::unique_ptr<Lab> lab = MakeLab();
  ThreadPool pool(1);
  Text text(*lab);
  const SelectionConfig config = Selection(0.2);
  LabProbe small(*lab, pool, config, AttendPolicy::kHeavyHitters, 1);
  LabProbe large(*lab, pool, config, AttendPolicy::kHeavyHitters, 1);
  LabSequence a = lab->Fork(text.sequence, 70);
  LabSequence b = lab->Fork(text.sequence, 70);
  // Half of the context, but for one probe only after it has lived on 15 %.
  const Variant little = VariantOf(Selection(0.15)), half = VariantOf(Selection(0.5));
  const LabDecodeRow row_a{&a, 1, PlanOf(little, 71, 70)};
  const LabDecodeRow row_b{&b, 1, PlanOf(half, 71, 70)};
  small.Step({&row_a, 1});
  large.Step({&row_b, 1});
  const LabDecodeRow next_a{&a, 2, PlanOf(half, 72, 70)};
  const LabDecodeRow next_b{&b, 2, PlanOf(half, 72, 70)};
  small.Step({&next_a, 1});
  large.Step({&next_b, 1});
  EXPECT_GT(large.recall(0, 1), 0.45);
  EXPECT_LT(small.recall(0, 1), 0.35);
}

TEST(ExperimentTest, SelectingEverythingIsDense) {
  const std::unique_ptr<Lab> lab = MakeLab();
  ThreadPool pool(2);
  Text text(*lab);
  std::vector<Case> cases = {text.text};
  ExperimentOptions options;
  options.free_tokens = 12;
  options.rows_max = 3;
  Experiment experiment(*lab, pool, options, nullptr);
  experiment.RunDense(cases);
  ASSERT_EQ(cases[0].dense_log_probs.size(), 20u * kVocab);
  ASSERT_EQ(cases[0].dense_free.size(), 12u);
  SelectionConfig everything = Selection(0.5);
  everything.force_sparse = true;
  std::vector<Variant> variants = {VariantOf(everything), VariantOf(everything),
                                   VariantOf(everything)};
  variants[1].policy = AttendPolicy::kLayerOracle;
  variants[2].policy = AttendPolicy::kHeavyHitters;
  for (const std::vector<Outcome>& outcomes : experiment.Run(variants, cases)) {
    const Outcome& outcome = outcomes.at(0);
    EXPECT_EQ(outcome.figures.tokens, 20);
    EXPECT_EQ(outcome.figures.agreements, 20);
    EXPECT_NEAR(outcome.figures.kl, 0.0, 1e-4);
    EXPECT_NEAR(outcome.figures.loss, outcome.figures.dense_loss, 1e-3);
    EXPECT_EQ(outcome.attended, 1.0);
    EXPECT_EQ(outcome.free.common_prefix, 12);
    EXPECT_EQ(outcome.free.tokens, 12);
  }
}

TEST(ExperimentTest, SmallerBudgetsAreFurtherFromDenseAndRowsDoNotMixUp) {
  const std::unique_ptr<Lab> lab = MakeLab();
  ThreadPool pool(2);
  Text text(*lab);
  Text shorter(*lab, 61);
  shorter.text.inputs.resize(9);
  shorter.text.targets.resize(9);
  std::vector<Case> cases = {text.text, shorter.text};
  ExperimentOptions options;
  options.rows_max = 4;
  options.probe_steps = 5;
  Experiment experiment(*lab, pool, options, nullptr);
  experiment.RunDense(cases);
  std::vector<Variant> variants;
  for (const double budget : {0.12, 0.3, 0.8}) variants.push_back(VariantOf(Selection(budget)));
  variants.push_back(variants[1]);
  variants[3].forced_only = true;
  const auto together = experiment.Run(variants, cases);
  for (size_t v = 0; v < variants.size(); ++v) {
    const auto alone = experiment.Run({variants[v]}, {cases[1]});
    EXPECT_NEAR(together[v][1].figures.kl, alone[0][0].figures.kl, 1e-4);
    EXPECT_NEAR(together[v][1].attended, alone[0][0].attended, 1e-9);
    EXPECT_EQ(together[v][1].figures.tokens, 9);
    EXPECT_NEAR(together[v][0].recall[1], experiment.Run({variants[v]}, cases)[0][0].recall[1],
                1e-4);
  }
  EXPECT_GT(together[0][0].figures.kl, together[1][0].figures.kl);
  EXPECT_GT(together[1][0].figures.kl, together[2][0].figures.kl);
  EXPECT_NEAR(together[1][0].attended, 0.3, 0.02);
  EXPECT_NEAR(together[3][0].attended, together[1][0].attended, 1e-9);
  EXPECT_GT(together[2][0].recall[1], together[0][0].recall[1]);
}

TEST(ExperimentTest, ForcedOnlyIsSinksAndRecents) {
  Variant variant = VariantOf(Selection(0.5));
  variant.forced_only = true;
  const SelectionPlan plan = PlanOf(variant, 100, 90);
  EXPECT_EQ(plan.sink_end, 2);
  EXPECT_EQ(plan.tail_begin, 52);  // 50 places: 2 sinks and the last 48
  EXPECT_EQ(plan.candidate_begin, plan.candidate_end);
}

TEST(TokenFiguresTest, EqualsTheDefinitionInDouble) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> ours(1037), dense(1037), log_probs(1037);
  for (size_t i = 0; i < ours.size(); ++i) {
    dense[i] = normal(random);
    ours[i] = dense[i] + 0.2f * normal(random);
  }
  LogSoftmax(dense, log_probs);
  const auto lse = [](const std::vector<float>& x) {
    double sum = 0.0;
    for (const float value : x) sum += std::exp(double{value});
    return std::log(sum);
  };
  double kl = 0.0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double p = double{dense[i]} - lse(dense), q = double{ours[i]} - lse(ours);
    EXPECT_NEAR(log_probs[i], p, 1e-5);
    kl += std::exp(p) * (p - q);
  }
  const TokenFigures figures = CompareToken(ours, log_probs, 17);
  EXPECT_NEAR(figures.kl, kl, 1e-5);
  EXPECT_NEAR(figures.loss, lse(ours) - double{ours[17]}, 1e-5);
  EXPECT_NEAR(figures.dense_loss, lse(dense) - double{dense[17]}, 1e-5);
  EXPECT_NEAR(CompareToken(dense, log_probs, 17).kl, 0.0, 1e-6);
  EXPECT_EQ(CompareToken(dense, log_probs, 17).agreements, 1);
}

}  // namespace
}  // namespace tamis
