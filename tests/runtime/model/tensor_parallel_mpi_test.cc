// SPDX-License-Identifier: Apache-2.0
// Ranks as processes decode the same greedy tokens as one rank alone, computed by each of them.
#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "tests/runtime/model/greedy.h"
#include "tests/support/mpi_test.h"

namespace tamis {
namespace {

constexpr int kNumTokens = 12;

TEST(TensorParallelMpiTest, SameGreedyTokensAsOneRank) {
  const ModelConfig config = SmallRandomModel();
  const std::vector<std::vector<int32_t>> prompts = RandomPrompts(config.vocab_size, 50);
  Group alone = MakeSelfGroup();
  const GreedyRun reference = DecodeDummyModel(config, prompts, kNumTokens, *alone.collectives);
  Group group = MakeMpiGroup(TestMpi());
  const GreedyRun run = DecodeDummyModel(config, prompts, kNumTokens, *group.collectives);
  const GreedyAgreement agreement = CompareGreedy(reference, run);
  EXPECT_EQ(agreement.disagreement, "");
  EXPECT_GE(agreement.num_equal, 48);
}

}  // namespace
}  // namespace tamis
