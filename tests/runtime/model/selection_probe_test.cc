// SPDX-License-Identifier: Apache-2.0
// Figures of measured steps; that measuring disturbs nothing is also part of the parity test.
#include "runtime/model/selection_probe.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "tests/runtime/model/greedy.h"

namespace tamis {
namespace {

TEST(CompareLogitsTest, ByHand) {
  // Probabilities 1/2, 1/4, 1/4 against 1/4, 1/2, 1/4; a constant added changes none of them.
  const std::vector<float> dense = {std::log(2.0f), 0.0f, 0.0f};
  const std::vector<float> sparse = {3.0f, 3.0f + std::log(2.0f), 3.0f};
  const LogitAgreement agreement = CompareLogits(dense, sparse);
  EXPECT_FALSE(agreement.top1_equal);
  EXPECT_NEAR(agreement.kl, 0.25 * std::log(2.0), 1e-6);
  EXPECT_NEAR(agreement.logit_diff_max, 3.0 + std::log(2.0), 1e-6);
  const LogitAgreement same = CompareLogits(dense, dense);
  EXPECT_TRUE(same.top1_equal);
  EXPECT_EQ(same.kl, 0.0);
  EXPECT_EQ(same.logit_diff_max, 0.0);
}

SelectionConfig Settings() {
  SelectionConfig config;
  config.filter_layers = {0};
  config.min_context = 0;
  config.sink_tokens = 2;
  config.recent_tokens = 4;
  config.budget = {12, 0.0};
  return config;
}

struct ProbeRun {
  std::vector<std::vector<float>> logits;  // per step
  SelectionMeasures measures;
  int num_lines = 0;
};

// Two sequences, one of which decodes densely; a third one's prompt comes with the second step.
ProbeRun Decode(const SelectionConfig& selection, Group& group) {
  const ModelConfig model = SmallRandomModel();
  const ModelShard shard = ShardOf(model, group.collectives->rank(), group.collectives->size());
  ModelHarness harness(model, shard, DummyWeights(model, shard, 7), *group.collectives,
                       {.num_tokens_max = 128}, selection);
  ProbeRun run;
  SelectionProbe probe(selection, model, harness.layers(),
                       [&](const std::string&) { ++run.num_lines; });
  harness.Probe(&probe);
  const std::vector<std::vector<int32_t>> prompts = RandomPrompts(model.vocab_size, 3);
  std::vector<TestSequence> sequences(3);
  for (size_t i = 0; i < 3; ++i) {
    while (sequences[i].tokens.size() < 60) {
      sequences[i].tokens.insert(sequences[i].tokens.end(), prompts[i].begin(), prompts[i].end());
    }
  }
  harness.Run(std::vector<TestWork>{{&sequences[0], 50}, {&sequences[1], 40}});
  for (int step = 0; step < 6; ++step) {
    std::vector<TestWork> work(2);
    for (size_t i = 0; i < 2; ++i) {
      work[i] = {.sequence = &sequences[i], .num_tokens = 1, .decode = true};
      work[i].selection =
          PlanSelection(selection, i == 0 ? SelectionMode::kOn : SelectionMode::kOff,
                        selection.budget, sequences[i].num_cached + 1, 40);
    }
    if (step == 1) work.push_back({&sequences[2], 30});
    const ConstTensorView logits = harness.Run(work);
    run.logits.emplace_back(logits.As<float>(), logits.As<float>() + logits.elements());
  }
  run.measures = probe.measures();
  return run;
}

TEST(SelectionProbeTest, MeasuresOneInNStepsAndDisturbsNone) {
  for (int size = 1; size <= 3; ++size) {
    RunLoopback(size, [&](int, Group& group) {
      SelectionConfig config = Settings();
      const ProbeRun plain = Decode(config, group);
      config.mass_interval = 4;
      config.dense_interval = 3;
      const ProbeRun measured = Decode(config, group);
      EXPECT_EQ(measured.logits, plain.logits);
      EXPECT_EQ(plain.num_lines, 0);
      EXPECT_EQ(measured.num_lines, 3) << "steps 0, 3 and 4";
      EXPECT_EQ(measured.measures.mass_steps_total, 2);
      EXPECT_EQ(measured.measures.mass_tokens_total, 2);
      EXPECT_EQ(measured.measures.dense_steps_total, 2);
      EXPECT_EQ(measured.measures.agreement.tokens_total, 2) << "of the sparse sequence alone";
      EXPECT_GT(measured.measures.agreement.logit_diff_max, 0.0);
      EXPECT_GT(measured.measures.agreement.kl_max, 0.0);
      const FilterMass& filter = measured.measures.filters.at(0);
      EXPECT_GT(filter.sum_total, filter.last);
      EXPECT_GT(filter.last, 0.0);
      EXPECT_LT(filter.last, 1.0);
    });
  }
}

TEST(SelectionProbeTest, WhatSelectsEverythingHoldsAllAndIsDense) {
  Group alone = MakeSelfGroup();
  SelectionConfig config = Settings();
  config.force_sparse = true;
  config.mass_interval = 1;
  config.dense_interval = 1;
  const SelectionMeasures measures = Decode(config, alone).measures;
  EXPECT_EQ(measures.filters.at(0).last, 1.0);
  EXPECT_EQ(measures.filters.at(0).sum_total, 6.0);
  EXPECT_EQ(measures.agreement.tokens_total, 6);
  EXPECT_EQ(measures.agreement.top1_equal_total, 6);
  EXPECT_EQ(measures.agreement.logit_diff_max, 0.0);
}

}  // namespace
}  // namespace tamis
