// SPDX-License-Identifier: Apache-2.0
// A rank that disagrees with the leader dies and says over what.
#include <gtest/gtest.h>

#include "runtime/engine/engine.h"
#include "tests/runtime/engine/tiny_cluster.h"

namespace tamis {
namespace {

// Prefills three tokens in slot 0 and samples.
StepPlan FirstPlan() {
  StepPlan plan;
  plan.kind = PlanKind::kRun;
  plan.grants = {{0, 1}};
  plan.block_ids = {7};
  PlanSequence part;
  part.num_tokens = 3;
  part.samples = true;
  plan.sequences = {part};
  plan.token_ids = {1, 2, 3};
  return plan;
}

// Decodes slot 0 after FirstPlan.
StepPlan SecondPlan(int32_t confirmed_token) {
  StepPlan plan;
  plan.step_id = 1;
  plan.kind = PlanKind::kRun;
  plan.confirmed_step = 0;
  plan.confirmed = {{0, confirmed_token}};
  PlanSequence part;
  part.position = 3;
  part.num_tokens = 1;
  part.is_decode = true;
  part.samples = true;
  plan.sequences = {part};
  return plan;
}

class WorkerDeathTest : public testing::Test {
 protected:
  WorkerDeathTest() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    worker_->Launch(FirstPlan());
    sampled_ = worker_->Wait().tokens[0];
  }
  Group group_ = MakeSelfGroup();
  std::unique_ptr<Worker> worker_ = MakeTinyWorker(TinyConfig(), group_);
  int32_t sampled_ = -1;
};

TEST_F(WorkerDeathTest, TheRightPlanRuns) {
  worker_->Launch(SecondPlan(sampled_));
  EXPECT_EQ(worker_->Wait().tokens.size(), 1u);
}

TEST_F(WorkerDeathTest, AnotherTokenConfirmed) {
  EXPECT_DEATH(worker_->Launch(SecondPlan(sampled_ ^ 1)), "sampled another token than the leader");
}

TEST_F(WorkerDeathTest, AnotherSlotOrStepConfirmed) {
  StepPlan plan = SecondPlan(sampled_);
  plan.confirmed[0].slot = 1;
  EXPECT_DEATH(worker_->Launch(plan), "in step 0");
  plan = SecondPlan(sampled_);
  plan.confirmed.clear();
  EXPECT_DEATH(worker_->Launch(plan), "tokens of step 0");
  plan = SecondPlan(sampled_);
  plan.confirmed_step = -1;
  EXPECT_DEATH(worker_->Launch(plan), "confirms another step");
}

TEST_F(WorkerDeathTest, APositionThatDoesNotFollow) {
  StepPlan plan = SecondPlan(sampled_);
  plan.sequences[0].position = 4;
  EXPECT_DEATH(worker_->Launch(plan), "slot 0");
}

TEST_F(WorkerDeathTest, TokensWithoutABlock) {
  StepPlan plan = SecondPlan(sampled_);
  plan.sequences[0].is_decode = false;
  plan.sequences[0].num_tokens = 2;  // the block has room for one
  plan.token_ids = {4, 5};
  EXPECT_DEATH(worker_->Launch(plan), "slot 0 has no block");
}

TEST_F(WorkerDeathTest, NumbersOutOfRange) {
  StepPlan plan = SecondPlan(sampled_);
  plan.sequences[0].slot = 4;
  EXPECT_DEATH(worker_->Launch(plan), "slot 4");
  plan = SecondPlan(sampled_);
  plan.freed_slots = {-1};
  EXPECT_DEATH(worker_->Launch(plan), "slot -1");
  plan = SecondPlan(sampled_);
  plan.grants = {{0, 1}};
  plan.block_ids = {96};
  EXPECT_DEATH(worker_->Launch(plan), "block 96");
  plan.grants = {{0, 1000}};
  EXPECT_DEATH(worker_->Launch(plan), "1000 blocks for slot 0");
}

TEST_F(WorkerDeathTest, LaunchAndWaitAlternate) {
  EXPECT_DEATH(worker_->Wait(), "nothing was launched");
  worker_->Launch(SecondPlan(sampled_));
  EXPECT_DEATH(worker_->Launch(SecondPlan(sampled_)), "before the last was waited for");
}

// A leader that sends what `bytes` holds, one broadcast each.
void FollowBytes(const std::vector<std::string>& messages) {
  RunLoopback(2, [&](int rank, Group& group) {
    const auto worker = MakeTinyWorker(TinyConfig(), group);
    if (rank == 1) return FollowLeader(*group.control, *worker);
    for (std::string bytes : messages) group.control->Broadcast(&bytes);
  });
}

TEST(FollowLeaderDeathTest, DamagedAndLostPlans) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  StepPlan plan;
  plan.kind = PlanKind::kIdle;
  std::string idle;
  EncodeStepPlan(plan, &idle);
  std::string damaged = idle;
  damaged[9] ^= 1;
  EXPECT_DEATH(FollowBytes({damaged}), "plan 0 arrived damaged");
  EXPECT_DEATH(FollowBytes({idle, idle}), "a plan was lost");
}

}  // namespace
}  // namespace tamis
