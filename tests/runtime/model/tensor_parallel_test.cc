// SPDX-License-Identifier: Apache-2.0
// A split model says what the whole one says: same greedy tokens at every rank count, and the same
// bits on every rank.
#include <iostream>

#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "tests/runtime/model/greedy.h"

namespace tamis {
namespace {

constexpr int kNumPrompts = 50;
constexpr int kNumTokens = 12;

TEST(TensorParallelTest, SameGreedyTokensAtEveryRankCount) {
  const ModelConfig config = SmallRandomModel();
  const std::vector<std::vector<int32_t>> prompts = RandomPrompts(config.vocab_size, kNumPrompts);
  Group alone = MakeSelfGroup();
  const GreedyRun reference = DecodeDummyModel(config, prompts, kNumTokens, *alone.collectives);
  for (int size = 2; size <= 5; ++size) {
    RunLoopback(size, [&](int rank, Group& group) {
      const GreedyRun run = DecodeDummyModel(config, prompts, kNumTokens, *group.collectives);
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
  const ModelConfig config = SmallRandomModel();
  RunLoopback(4, [&](int rank, Group& group) {
    const ModelShard shard = ShardOf(config, rank, group.collectives->size());
    ModelHarness harness(config, shard, DummyWeights(config, shard, /*seed=*/31),
                         *group.collectives, HarnessLimits());
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
