// SPDX-License-Identifier: Apache-2.0
// The scheduler's rules, one by one, on small scenes.
#include "runtime/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/engine/scheduler_replica.h"

namespace tamis {
namespace {

using std::chrono::steady_clock;
using testing::ElementsAre;
using testing::IsEmpty;

SchedulerConfig SmallConfig() {
  SchedulerConfig config;
  config.max_num_seqs = 4;
  config.max_num_batched_tokens = 16;
  config.max_model_len = 64;
  config.num_blocks = 32;
  config.block_tokens = 4;
  config.num_groups = 2;
  return config;
}

// A scheduler, its replica, and what the clients saw.
class SchedulerTest : public testing::Test {
 protected:
  struct Client {
    std::shared_ptr<Request> request;
    std::vector<TokenEvent> events;
    FinishReason finish() const {
      return events.empty() ? FinishReason::kNone : events.back().finish;
    }
  };

  void Start(const SchedulerConfig& config) {
    scheduler_ = std::make_unique<Scheduler>(config);
    replica_ = std::make_unique<SchedulerReplica>(config);
  }
  Client& Add(std::shared_ptr<Request> request) {
    clients_.push_back(std::make_unique<Client>());
    Client* client = clients_.back().get();
    client->request = request;
    request->on_token = [client](const TokenEvent& event) { client->events.push_back(event); };
    scheduler_->Add(std::move(request));
    return *client;
  }
  Client& Add(uint64_t seed, int64_t prompt_len, int32_t max_tokens) {
    return Add(MakeRequest(seed, prompt_len, max_tokens));
  }
  const StepPlan& Step() {
    scheduler_->DropEnded(now_);
    scheduler_->Schedule(&plan_);
    const StepResult result = replica_->Execute(plan_);
    if (plan_.kind == PlanKind::kRun) scheduler_->Commit(result);
    return plan_;
  }
  void RunToEnd() {
    for (int i = 0; i < 1000 && scheduler_->has_work(); ++i) Step();
    EXPECT_FALSE(scheduler_->has_work());
    EXPECT_EQ(scheduler_->blocks_free(), scheduler_->config().num_blocks);
  }

  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<SchedulerReplica> replica_;
  std::vector<std::unique_ptr<Client>> clients_;
  StepPlan plan_;
  steady_clock::time_point now_ = steady_clock::time_point{} + std::chrono::hours(1);
};

TEST_F(SchedulerTest, NothingToDoIsAnIdlePlan) {
  Start(SmallConfig());
  EXPECT_EQ(Step().kind, PlanKind::kIdle);
  EXPECT_EQ(Step().step_id, 1);
}

TEST_F(SchedulerTest, PrefillsThenDecodesUntilMaxTokens) {
  Start(SmallConfig());
  Client& client = Add(7, 5, 3);
  Step();
  ASSERT_EQ(plan_.sequences.size(), 1u);
  EXPECT_EQ(plan_.sequences[0].num_tokens, 5);
  EXPECT_TRUE(plan_.sequences[0].samples);
  EXPECT_FALSE(plan_.sequences[0].is_decode);
  EXPECT_THAT(plan_.grants, ElementsAre(BlockGrant{0, 2}));
  EXPECT_EQ(plan_.block_ids.size(), 4u);  // two groups
  Step();
  EXPECT_TRUE(plan_.sequences[0].is_decode);
  EXPECT_THAT(plan_.token_ids, IsEmpty());
  EXPECT_THAT(plan_.confirmed, ElementsAre(SlotToken{0, ExpectedToken(7, 5)}));
  Step();
  ASSERT_EQ(client.events.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(client.events[i].token_id, ExpectedToken(7, 5 + static_cast<int64_t>(i)));
  }
  EXPECT_EQ(client.events[1].finish, FinishReason::kNone);
  EXPECT_EQ(client.finish(), FinishReason::kLength);
  EXPECT_FALSE(scheduler_->has_work());
  EXPECT_EQ(Step().kind, PlanKind::kIdle);  // tells followers what was freed, and the last token
  EXPECT_THAT(plan_.freed_slots, ElementsAre(0));
  EXPECT_THAT(plan_.confirmed, ElementsAre(SlotToken{0, ExpectedToken(7, 7)}));
}

TEST_F(SchedulerTest, ALongPromptGoesInChunksAndDecodesComeFirst) {
  Start(SmallConfig());
  Add(1, 3, 20);
  Step();
  Client& long_prompt = Add(2, 40, 1);
  Step();
  ASSERT_EQ(plan_.sequences.size(), 2u);
  EXPECT_TRUE(plan_.sequences[0].is_decode);
  EXPECT_EQ(plan_.sequences[1].num_tokens, 15);
  EXPECT_FALSE(plan_.sequences[1].samples);
  Step();
  EXPECT_EQ(plan_.sequences[1].position, 15);
  EXPECT_EQ(plan_.sequences[1].num_tokens, 15);
  Step();
  EXPECT_EQ(plan_.sequences[1].num_tokens, 10);
  EXPECT_TRUE(plan_.sequences[1].samples);
  EXPECT_EQ(long_prompt.finish(), FinishReason::kLength);
  RunToEnd();
}

TEST_F(SchedulerTest, SlotsBoundTheBatchAndAreServedInOrder) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 2;
  Start(config);
  Add(1, 2, 2);
  Add(2, 2, 9);
  Add(3, 2, 9);
  Add(4, 2, 9);
  Step();
  EXPECT_EQ(plan_.sequences.size(), 2u);
  EXPECT_EQ(scheduler_->waiting().size(), 2u);
  Step();  // the first ends
  Step();
  EXPECT_THAT(plan_.freed_slots, ElementsAre(0));
  ASSERT_EQ(plan_.sequences.size(), 2u);
  EXPECT_EQ(plan_.sequences[1].slot, 0);  // reused in the plan that frees it
  EXPECT_EQ(plan_.sequences[1].seed, 3u);
  RunToEnd();
}

TEST_F(SchedulerTest, FinishReasons) {
  Start(SmallConfig());
  auto eos = MakeRequest(1, 2, 50);
  eos->eos_token_ids = {-5, ExpectedToken(1, 4)};
  auto ignores = MakeRequest(2, 2, 6);
  ignores->eos_token_ids = {ExpectedToken(2, 4)};
  ignores->sampling.ignore_eos = true;
  auto stops = MakeRequest(3, 2, 50);
  stops->sampling.ignore_eos = true;
  stops->sampling.stop_token_ids = {ExpectedToken(3, 2), ExpectedToken(3, 9)};
  Client& by_eos = Add(eos);
  Client& by_length = Add(ignores);
  Client& by_stop = Add(stops);
  Client& by_model_len = Add(4, 60, 1000);
  RunToEnd();
  EXPECT_EQ(by_eos.events.size(), 3u);
  EXPECT_EQ(by_eos.finish(), FinishReason::kStop);
  EXPECT_EQ(by_length.events.size(), 6u);
  EXPECT_EQ(by_length.finish(), FinishReason::kLength);
  EXPECT_EQ(by_stop.events.size(), 1u);
  EXPECT_EQ(by_stop.finish(), FinishReason::kStop);
  EXPECT_EQ(by_model_len.events.size(), 4u);  // 60 + 4 = max_model_len
  EXPECT_EQ(by_model_len.finish(), FinishReason::kLength);
}

TEST_F(SchedulerTest, CancelAndDeadlineActAtTheNextStepAndFreeBlocks) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 3;
  Start(config);
  Client& cancelled = Add(1, 4, 50);
  Client& expired = Add(2, 4, 50);
  Client& stays = Add(3, 4, 50);
  Client& waits = Add(4, 4, 50);
  expired.request->deadline = now_ + std::chrono::seconds(1);
  Step();
  cancelled.request->cancelled = true;
  waits.request->cancelled = true;
  now_ += std::chrono::seconds(1);
  Step();
  EXPECT_EQ(cancelled.finish(), FinishReason::kAbort);
  EXPECT_FALSE(cancelled.events.back().abort_is_deadline);
  EXPECT_EQ(cancelled.events.back().token_id, -1);
  EXPECT_FALSE(cancelled.events.back().abort_reason.empty());
  EXPECT_EQ(expired.finish(), FinishReason::kAbort);
  EXPECT_TRUE(expired.events.back().abort_is_deadline);
  EXPECT_EQ(waits.finish(), FinishReason::kAbort);
  EXPECT_THAT(plan_.freed_slots, ElementsAre(0, 1));
  EXPECT_EQ(scheduler_->blocks_free(), config.num_blocks - 2);
  EXPECT_EQ(scheduler_->running().size(), 1u);
  RunToEnd();
  EXPECT_EQ(stays.events.size(), 50u);
}

TEST_F(SchedulerTest, AbortAllEndsWhatRunsAndWhatWaits) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  Start(config);
  Client& runs = Add(1, 4, 50);
  Client& waits = Add(2, 4, 50);
  Step();
  scheduler_->AbortAll("the server shuts down");
  EXPECT_FALSE(scheduler_->has_work());
  EXPECT_EQ(scheduler_->blocks_free(), config.num_blocks);
  for (Client* client : {&runs, &waits}) {
    EXPECT_EQ(client->finish(), FinishReason::kAbort);
    EXPECT_EQ(client->events.back().abort_reason, "the server shuts down");
  }
}

TEST_F(SchedulerTest, TheYoungestIsPreemptedAndRecomputed) {
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 16;  // one sequence of max_model_len
  config.max_num_batched_tokens = 64;
  Start(config);
  Client& old = Add(1, 20, 40);
  Client& middle = Add(2, 8, 40);
  Client& young = Add(3, 8, 40);
  while (scheduler_->num_preempted_total() == 0) Step();
  ASSERT_EQ(scheduler_->waiting().size(), 1u);
  EXPECT_EQ(scheduler_->waiting().front().request, young.request);
  EXPECT_EQ(scheduler_->waiting().front().generated.size(), young.events.size());
  EXPECT_FALSE(scheduler_->waiting().front().generated.empty());
  EXPECT_THAT(plan_.freed_slots, ElementsAre(2));
  RunToEnd();
  for (Client* client : {&old, &middle, &young}) {
    ASSERT_EQ(client->events.size(), 40u);  // each token once
    EXPECT_EQ(client->finish(), FinishReason::kLength);
  }
}

TEST_F(SchedulerTest, WhatWasDecodedSparselyIsReplayed) {
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 16;
  config.max_num_batched_tokens = 64;
  config.selection.filter_layers = {0};
  config.selection.budget = {6, 0.0};
  config.selection.sink_tokens = 1;
  config.selection.recent_tokens = 2;
  config.selection.min_context = 11;
  Start(config);
  Client& old = Add(1, 20, 40);
  Add(2, 8, 40);
  Client& young = Add(3, 8, 40);
  while (scheduler_->num_preempted_total() == 0) Step();
  ASSERT_EQ(scheduler_->waiting().front().request, young.request);
  const int64_t num_tokens = scheduler_->waiting().front().num_tokens();
  // Positions 8 and 9 were decoded densely, in contexts of 9 and 10 tokens.
  ASSERT_EQ(scheduler_->waiting().front().sparse_from, 10);
  ASSERT_GT(num_tokens, 11);

  const size_t events_before = young.events.size();
  const auto part_of_young = [&]() -> const PlanSequence* {
    for (const PlanSequence& part : Step().sequences) {
      if (scheduler_->sequence(part.slot).request == young.request) return &part;
    }
    return nullptr;
  };
  const PlanSequence* part = nullptr;
  while (part == nullptr) part = part_of_young();
  EXPECT_EQ(part->position, 0);
  EXPECT_EQ(part->num_tokens, 10);
  EXPECT_FALSE(part->is_decode);
  EXPECT_FALSE(part->samples) << "the next token is known";
  for (int64_t position = 10; position < num_tokens; ++position) {
    part = part_of_young();
    ASSERT_NE(part, nullptr);
    EXPECT_EQ(part->position, position);
    EXPECT_TRUE(part->is_decode);
    EXPECT_TRUE(part->is_replay);
    EXPECT_EQ(part->selection, PlanSelection(config.selection, SelectionMode::kAuto,
                                             config.selection.budget, position + 1, 8));
    EXPECT_TRUE(part->selection.sparse());
    EXPECT_EQ(part->samples, position + 1 == num_tokens);
  }
  EXPECT_EQ(young.events.size(), events_before + 1);
  part = part_of_young();
  ASSERT_NE(part, nullptr);
  EXPECT_FALSE(part->is_replay) << "from here on it decodes what it samples";
  RunToEnd();
  EXPECT_EQ(young.events.size(), 40u);
  EXPECT_EQ(old.events.size(), 40u);
}

TEST(RequestProblemTest, SelectionIsWithinTheServersLimits) {
  SchedulerConfig config = SmallConfig();
  const auto problem = [&](SelectionMode mode, std::optional<SelectionBudget> budget) {
    const auto request = MakeRequest(1, 10, 20);
    request->selection = {mode, budget};
    return RequestProblem(config, *request);
  };
  EXPECT_EQ(problem(SelectionMode::kAuto, {}), "");
  EXPECT_EQ(problem(SelectionMode::kOff, {}), "");
  EXPECT_THAT(problem(SelectionMode::kOn, {}), testing::HasSubstr("no filter layers"));
  EXPECT_THAT(problem(SelectionMode::kAuto, {{9, 0.0}}), testing::HasSubstr("no filter layers"));
  config.selection.filter_layers = {0};
  config.selection.sink_tokens = config.selection.recent_tokens = 3;
  config.selection.budget = {8, 0.0};
  config.selection.max_selected_tokens = 12;
  EXPECT_EQ(problem(SelectionMode::kOn, {}), "");
  EXPECT_EQ(problem(SelectionMode::kOn, {{12, 0.0}}), "");
  EXPECT_THAT(problem(SelectionMode::kOn, {{13, 0.0}}),
              testing::HasSubstr("selection: num_selected_tokens comes to 13"));
  EXPECT_THAT(problem(SelectionMode::kOn, {{6, 0.0}}),
              testing::HasSubstr("selection: num_selected_tokens is 6; it must be above 6"));
  EXPECT_EQ(problem(SelectionMode::kOn, {{0, 0.4}}), "") << "12 of 30 tokens";
  EXPECT_THAT(problem(SelectionMode::kOn, {{0, 0.5}}), testing::HasSubstr("comes to 15 of 30"));
}

TEST_F(SchedulerTest, AnAdmissionLeavesRoomToGrow) {
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 16;
  config.max_num_batched_tokens = 64;
  Start(config);
  Add(1, 23, 3);  // 6 blocks, and a seventh for its third token
  Step();
  Client& exact = Add(2, 40, 1);  // the 10 blocks that are free
  Step();
  EXPECT_EQ(scheduler_->waiting().size(), 1u);
  RunToEnd();
  EXPECT_EQ(exact.finish(), FinishReason::kLength);
  EXPECT_EQ(scheduler_->num_preempted_total(), 0);
}

TEST_F(SchedulerTest, AHeadThatDoesNotFitIsNotOvertaken) {
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 16;
  Start(config);
  Add(1, 40, 2);
  Step();
  Add(2, 40, 2);
  Add(3, 1, 1);
  Step();
  EXPECT_EQ(scheduler_->waiting().size(), 2u);
  RunToEnd();
}

TEST_F(SchedulerTest, LogprobsGoToWhoAskedForThem) {
  Start(SmallConfig());
  auto none = MakeRequest(1, 2, 1);
  auto own = MakeRequest(2, 2, 1);
  own->sampling.num_logprobs = 0;
  auto two = MakeRequest(3, 2, 1);
  two->sampling.num_logprobs = 2;
  Client& without = Add(none);
  Client& with_own = Add(own);
  Client& with_two = Add(two);
  scheduler_->Schedule(&plan_);
  ASSERT_EQ(plan_.sequences.size(), 3u);
  const std::vector<int32_t> tokens = {1, 2, 3};
  const std::vector<float> logprobs = {-1.0f, -2.0f, -3.0f};
  const std::vector<int32_t> top_tokens = {10, 11, 20, 21, 30, 31};
  const std::vector<float> top_logprobs = {-0.1f, -0.2f, -0.3f, -0.4f, -0.5f, -0.6f};
  scheduler_->Commit({tokens, logprobs, 2, top_tokens, top_logprobs});
  EXPECT_EQ(without.events[0].logprobs.logprob, 0.0f);
  EXPECT_EQ(with_own.events[0].logprobs.logprob, -2.0f);
  EXPECT_THAT(with_own.events[0].logprobs.top, IsEmpty());
  EXPECT_EQ(with_two.events[0].logprobs.logprob, -3.0f);
  EXPECT_THAT(with_two.events[0].logprobs.top,
              ElementsAre(std::pair(30, -0.5f), std::pair(31, -0.6f)));
}

TEST(SchedulerConfigTest, ProblemsNameTheField) {
  EXPECT_EQ(SchedulerConfigProblem(SmallConfig()), "");
  const auto problem = [](auto change) {
    SchedulerConfig config = SmallConfig();
    change(config);
    return SchedulerConfigProblem(config);
  };
  using testing::HasSubstr;
  EXPECT_THAT(problem([](auto& c) { c.max_num_seqs = 0; }), HasSubstr("max_num_seqs is 0"));
  EXPECT_THAT(problem([](auto& c) { c.max_num_batched_tokens = 3; }),
              HasSubstr("max_num_batched_tokens is 3"));
  EXPECT_THAT(problem([](auto& c) { c.max_model_len = 1; }), HasSubstr("max_model_len is 1"));
  EXPECT_THAT(problem([](auto& c) { c.max_model_len = int64_t{1} << 31; }), HasSubstr("32 bits"));
  EXPECT_THAT(problem([](auto& c) { c.block_tokens = 0; }), HasSubstr("block_tokens is 0"));
  EXPECT_THAT(problem([](auto& c) { c.num_groups = 0; }), HasSubstr("num_groups is 0"));
  EXPECT_THAT(problem([](auto& c) { c.max_waiting = 0; }), HasSubstr("max_waiting is 0"));
  EXPECT_THAT(problem([](auto& c) { c.num_blocks = 15; }), HasSubstr("needs 16"));
}

TEST(SchedulerDeathTest, WhatWasNotValidatedDies) {
  SchedulerConfig config = SmallConfig();
  Scheduler scheduler(config);
  EXPECT_DEATH(scheduler.Add(MakeRequest(1, 64, 1)), "prompt has 64 tokens");
  EXPECT_DEATH(scheduler.Add(MakeRequest(1, 0, 1)), "prompt is empty");
  EXPECT_DEATH(scheduler.Add(MakeRequest(1, 1, 0)), "max_tokens is 0");
  config.num_blocks = 1;
  EXPECT_DEATH(Scheduler{config}, "needs 16");
}

}  // namespace
}  // namespace tamis
