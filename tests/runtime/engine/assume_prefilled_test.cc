// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/assume_prefilled.h"

#include "gtest/gtest.h"

namespace tamis {
namespace {

PlanSequence Part(int32_t slot, int32_t position, int32_t num_tokens, bool decodes) {
  PlanSequence part;
  part.slot = slot;
  part.position = position;
  part.num_tokens = num_tokens;
  part.is_decode = decodes;
  part.samples = true;
  return part;
}

TEST(AssumePrefilled, APromptBecomesItsLastToken) {
  StepPlan plan;
  plan.step_id = 5;
  plan.kind = PlanKind::kRun;
  PlanSequence replayed = Part(2, 9, 1, true);
  replayed.is_replay = true;
  plan.sequences = {Part(1, 7, 1, true), replayed, Part(0, 0, 4, false), Part(3, 0, 1, false)};
  plan.token_ids = {90, 10, 11, 12, 13, 30};
  const StepPlan result = AssumePrefilled(plan);
  EXPECT_EQ(result.step_id, 5);
  ASSERT_EQ(result.sequences.size(), 4u);
  EXPECT_EQ(result.sequences[0], plan.sequences[0]);
  EXPECT_EQ(result.sequences[1], replayed);
  EXPECT_EQ(result.token_ids, (std::vector<int32_t>{90, 13, 30}));
  EXPECT_EQ(result.sequences[2].position, 3);
  EXPECT_EQ(result.sequences[3].position, 0);
  for (const size_t i : {2u, 3u}) {
    EXPECT_EQ(result.sequences[i].num_tokens, 1);
    EXPECT_TRUE(result.sequences[i].is_decode && result.sequences[i].is_replay);
    EXPECT_TRUE(result.sequences[i].samples);
  }
}

TEST(AssumePrefilledDeathTest, RefusesAPartOfAPrompt) {
  StepPlan plan;
  plan.sequences = {Part(0, 4, 2, false)};
  plan.token_ids = {1, 2};
  EXPECT_DEATH(AssumePrefilled(plan), "slot 0 prefills in chunks");
}

}  // namespace
}  // namespace tamis
