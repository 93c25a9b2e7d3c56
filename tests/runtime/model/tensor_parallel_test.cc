// SPDX-License-Identifier: Apache-2.0
// A split model says what the whole one says: same greedy tokens at every rank count, and the same
// bits on every rank.
#include <iostream>
#include <random>

#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "tests/runtime/model/greedy.h"

namespace tamis {
namespace {

constexpr uint64_t kSeed = 31;
constexpr int kNumPrompts = 50;
constexpr int kNumTokens = 12;

// Nine query heads in three groups: 2+1 groups on two ranks, split groups on four and five.
ModelConfig SmallModel() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = 144;
  config.num_layers = 3;
  config.num_q_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = 64;
  config.ffn_size = 250;
  config.vocab_size = 1003;
  config.max_positions = 512;
  return config;
}

std::vector<std::vector<int32_t>> RandomPrompts(int64_t vocab_size) {
  std::mt19937 random(kSeed);
  std::uniform_int_distribution<int32_t> token(0, static_cast<int32_t>(vocab_size) - 1);
  std::uniform_int_distribution<int> length(1, 20);
  std::vector<std::vector<int32_t>> prompts(kNumPrompts);
  for (std::vector<int32_t>& prompt : prompts) {
    prompt.resize(static_cast<size_t>(length(random)));
    for (int32_t& id : prompt) id = token(random);
  }
  return prompts;
}

GreedyRun RunRank(const ModelConfig& config, const std::vector<std::vector<int32_t>>& prompts,
                  Collectives& collectives) {
  const ModelShard shard = ShardOf(config, collectives.rank(), collectives.size());
  ModelHarness harness(config, shard, DummyWeights(config, shard, kSeed), collectives,
                       LimitsForGreedy(prompts, kNumTokens));
  return DecodeGreedily(harness, prompts, kNumTokens);
}

TEST(TensorParallelTest, SameGreedyTokensAtEveryRankCount) {
  const ModelConfig config = SmallModel();
  const std::vector<std::vector<int32_t>> prompts = RandomPrompts(config.vocab_size);
  Group alone = MakeSelfGroup();
  const GreedyRun reference = RunRank(config, prompts, *alone.collectives);
  for (int size = 2; size <= 5; ++size) {
    RunLoopback(size, [&](int rank, Group& group) {
      const GreedyRun run = RunRank(config, prompts, *group.collectives);
      const GreedyAgreement agreement = CompareGreedy(reference, run);
      EXPECT_EQ(agreement.disagreement, "") << "rank " << rank << " of " << size;
      EXPECT_GE(agreement.num_equal, kNumPrompts - 2) << "rank " << rank << " of " << size;
      if (rank == 0) {
        std::cout << size << " ranks: " << agreement.num_equal << " prompts equal, "
                  << agreement.num_in_doubt << " parted where two logits were closer than rounding"
                  << std::endl;
      }
    });
  }
}

TEST(TensorParallelTest, EveryRankHasTheSameBits) {
  const ModelConfig config = SmallModel();
  RunLoopback(4, [&](int rank, Group& group) {
    const ModelShard shard = ShardOf(config, rank, group.collectives->size());
    ModelHarness harness(config, shard, DummyWeights(config, shard, kSeed), *group.collectives,
                         HarnessLimits());
    TestSequence sequence{{5, 900, 17, 1002, 0}};
    const ConstTensorView logits = harness.Run({&sequence, 5, false, /*all_logits=*/true});
    const std::vector<std::string> all = group.control->AllGather(
        std::string_view(static_cast<const char*>(logits.data), logits.bytes()));
    EXPECT_EQ(all[static_cast<size_t>(rank)], all[0]);
  });
}

TEST(CompareGreedyTest, TellsDoubtFromDisagreement) {
  const GreedyRun reference{{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}},
                            {{0.5, 0.5, 0.5}, {0.5, 1e-7, 0.5}, {0.5, 0.5, 0.01}}};
  GreedyRun run = reference;
  run.tokens[1] = {4, 50, 60};
  EXPECT_EQ(CompareGreedy(reference, run).num_equal, 2);
  EXPECT_EQ(CompareGreedy(reference, run).num_in_doubt, 1);
  EXPECT_EQ(CompareGreedy(reference, run).disagreement, "");
  run.tokens[2] = {7, 8, 90};
  EXPECT_NE(CompareGreedy(reference, run).disagreement, "");
}

}  // namespace
}  // namespace tamis
