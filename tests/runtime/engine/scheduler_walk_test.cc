// SPDX-License-Identifier: Apache-2.0
// 100,000 random arrivals, cancels, deadlines and finishes; invariants after every step.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <utility>

#include "runtime/engine/scheduler.h"
#include "tests/runtime/engine/scheduler_replica.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct WalkCase {
  const char* name;
  SchedulerConfig config;
  int num_requests;
  int32_t max_tokens_max;
  double arrivals_per_step;
  bool ahead = false;  // each step is scheduled before the one before it is committed
};

// SchedulerConfig in one line: slots, token budget, model length, blocks, P, groups, waiting.
SchedulerConfig Config(int64_t slots, int64_t budget, int64_t model_len, int64_t blocks,
                       int64_t block_tokens, int groups, int64_t waiting) {
  return {slots, budget, model_len, blocks, block_tokens, groups, waiting, 0};
}

// Sequences of 14 tokens and more decode sparsely.
SchedulerConfig Selecting(SchedulerConfig config) {
  config.selection.filter_layers = {0};
  config.selection.budget = {6, 0.0};
  config.selection.sink_tokens = 1;
  config.selection.recent_tokens = 2;
  config.selection.min_context = 14;
  return config;
}

class SchedulerWalkTest : public testing::TestWithParam<WalkCase> {
 protected:
  struct Client {
    std::shared_ptr<Request> request;
    int64_t arrival_idx = 0;
    int64_t num_tokens = 0;
    int32_t finish_after = 0;  // tokens, if nobody ends it
    FinishReason finish = FinishReason::kNone;
    FinishReason finish_expected = FinishReason::kNone;
    bool deadline_event = false;
    std::vector<SelectionPlan> written;  // per position: what its KV was decoded under, if anything
  };

  int64_t Below(int64_t end) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(end));
  }
  bool Chance(double p) { return std::uniform_real_distribution<>()(random_) < p; }

  void Arrive(Scheduler& scheduler) {
    const SchedulerConfig& config = scheduler.config();
    // Mostly short, sometimes anything that fits.
    const int64_t prompt_max =
        Chance(0.1) ? config.max_model_len - 1 : std::min<int64_t>(12, config.max_model_len - 1);
    const uint64_t seed = next_seed_++;
    auto request = MakeRequest(seed, 1 + Below(prompt_max),
                               1 + static_cast<int32_t>(Below(GetParam().max_tokens_max)));
    const int64_t prompt_len = static_cast<int64_t>(request->prompt.size());
    Client& client = clients_[seed];
    client.arrival_idx = next_arrival_idx_++;
    client.finish_after = request->sampling.max_tokens;
    client.finish_expected = FinishReason::kLength;
    client.finish_after = static_cast<int32_t>(
        std::min<int64_t>(client.finish_after, config.max_model_len - prompt_len));
    if (Chance(0.3)) {
      const int64_t at = Below(client.finish_after);
      (Chance(0.5) ? request->eos_token_ids : request->sampling.stop_token_ids)
          .assign(1, ExpectedToken(seed, prompt_len + at));
      client.finish_after = static_cast<int32_t>(at + 1);
      client.finish_expected = FinishReason::kStop;
    }
    if (Chance(0.1)) request->deadline = now_ + milliseconds(1 + Below(60));
    request->on_token = [this, seed, prompt_len](const TokenEvent& event) {
      Client& self = clients_.at(seed);
      ASSERT_EQ(self.finish, FinishReason::kNone) << "an event after the last";
      if (event.token_id >= 0) {
        ASSERT_EQ(event.token_id, ExpectedToken(seed, prompt_len + self.num_tokens));
        ++self.num_tokens;
      }
      self.finish = event.finish;
      self.deadline_event = event.abort_is_deadline;
    };
    client.request = request;
    scheduler.Add(std::move(request));
  }

  void CancelSome() {
    for (auto& [seed, client] : clients_) {
      if (Chance(0.004)) client.request->cancelled = true;
    }
  }

  // Checks the clients that ended since the last call, and forgets them.
  void Collect() {
    for (auto it = clients_.begin(); it != clients_.end();) {
      const Client& client = it->second;
      if (client.finish == FinishReason::kNone) {
        ASSERT_LT(client.num_tokens, client.finish_after);
        ++it;
        continue;
      }
      ++num_ended_;
      if (client.finish == FinishReason::kAbort) {
        ++num_aborted_;
        ASSERT_TRUE(client.deadline_event ? client.request->deadline <= now_
                                          : client.request->cancelled.load());
      } else {
        ASSERT_EQ(client.finish, client.finish_expected) << "seed " << it->first;
        ASSERT_EQ(client.num_tokens, client.finish_after) << "seed " << it->first;
      }
      ASSERT_EQ(client.request.use_count(), 1) << "the scheduler keeps an ended request";
      it = clients_.erase(it);
    }
  }

  void CheckPlan(const Scheduler& scheduler, const StepPlan& plan) {
    const SchedulerConfig& config = scheduler.config();
    int64_t num_tokens = 0;
    std::set<int32_t> slots;
    for (const PlanSequence& part : plan.sequences) {
      ASSERT_GT(part.num_tokens, 0);
      num_tokens += part.num_tokens;
      ASSERT_TRUE(part.slot >= 0 && part.slot < config.max_num_seqs);
      ASSERT_TRUE(slots.insert(part.slot).second) << "slot twice in a step";
      ASSERT_LT(part.position + part.num_tokens, config.max_model_len);
    }
    ASSERT_LE(num_tokens, config.max_num_batched_tokens);
    ASSERT_LE(static_cast<int64_t>(plan.sequences.size()), config.max_num_seqs);
    // Everyone who decodes does so in every step, unless what is in flight ends it.
    bool all_end = !scheduler.running().empty();
    for (const int32_t slot : scheduler.running()) {
      const bool ends = EndsInFlight(scheduler, slot) && !slots.contains(slot);
      all_end = all_end && ends;
      if (scheduler.sequence(slot).decoding) {
        ASSERT_TRUE(slots.contains(slot) || ends);
      }
    }
    // There is a step for whoever is there, unless it has to wait for the blocks of those who end.
    if (!all_end) {
      ASSERT_EQ(plan.kind, scheduler.has_work() ? PlanKind::kRun : PlanKind::kIdle);
    }
    // The oldest of all advances in every step.
    if (!scheduler.running().empty()) {
      const int32_t oldest = scheduler.running().front();
      ASSERT_TRUE(slots.contains(oldest) || EndsInFlight(scheduler, oldest));
    }
  }

  // By length, whatever the tokens are that are on their way.
  bool EndsInFlight(const Scheduler& scheduler, int32_t slot) const {
    const Sequence& sequence = scheduler.sequence(slot);
    if (!GetParam().ahead || sequence.num_pending == 0) return false;
    return static_cast<int64_t>(sequence.generated.size()) + sequence.num_pending >=
               sequence.request->sampling.max_tokens ||
           sequence.num_tokens() >= scheduler.config().max_model_len;
  }

  // KV that comes back after a preemption was written as it was the first time.
  void CheckWritten(const Scheduler& scheduler, const StepPlan& plan) {
    for (const PlanSequence& part : plan.sequences) {
      const Request& request = *scheduler.sequence(part.slot).request;
      std::vector<SelectionPlan>& written = clients_.at(request.sampling.seed).written;
      num_replayed_ += part.is_replay ? 1 : 0;
      num_sparse_ += part.selection.sparse() ? 1 : 0;
      ASSERT_TRUE(part.is_decode || !(part.selection.sparse() || part.is_replay));
      for (int64_t i = 0; i < part.num_tokens; ++i) {
        const size_t position = static_cast<size_t>(part.position + i);
        if (position < written.size()) {
          ASSERT_EQ(part.selection, written[position]) << "position " << position;
        } else {
          ASSERT_EQ(position, written.size());
          written.push_back(part.selection);
        }
      }
    }
  }

  void CheckState(const Scheduler& scheduler) {
    const SchedulerConfig& config = scheduler.config();
    for (int g = 0; g < config.num_groups; ++g) {
      const BlockPool& pool = scheduler.pool(g);
      std::vector<int> owners(static_cast<size_t>(config.num_blocks), 0);
      for (const int32_t slot : scheduler.running()) {
        const Sequence& sequence = scheduler.sequence(slot);
        for (const int32_t id : sequence.blocks[static_cast<size_t>(g)]) {
          ++owners[static_cast<size_t>(id)];
        }
        ASSERT_GE(static_cast<int64_t>(sequence.blocks[static_cast<size_t>(g)].size()) *
                      config.block_tokens,
                  sequence.num_planned);
      }
      int64_t num_free = 0;
      for (int64_t id = 0; id < config.num_blocks; ++id) {
        ASSERT_LE(owners[static_cast<size_t>(id)], 1) << "block " << id << " has two owners";
        ASSERT_EQ(pool.references(static_cast<int32_t>(id)), owners[static_cast<size_t>(id)]);
        num_free += owners[static_cast<size_t>(id)] == 0 ? 1 : 0;
      }
      ASSERT_EQ(pool.num_free(), num_free);
    }
    CheckOrder(scheduler);
  }

  // Arrival order over running and waiting together: nobody runs twice, nobody is in both, and
  // nobody overtakes.
  void CheckOrder(const Scheduler& scheduler) {
    int64_t last = -1;
    std::set<int32_t> slots;
    for (const int32_t slot : scheduler.running()) {
      const Sequence& sequence = scheduler.sequence(slot);
      ASSERT_EQ(sequence.slot, slot);
      ASSERT_TRUE(slots.insert(slot).second);
      ASSERT_GT(sequence.arrival_idx, last);
      last = sequence.arrival_idx;
    }
    for (const Sequence& sequence : scheduler.waiting()) {
      ASSERT_GT(sequence.arrival_idx, last);
      ASSERT_EQ(sequence.slot, -1);
      for (const auto& blocks : sequence.blocks) ASSERT_TRUE(blocks.empty());
      last = sequence.arrival_idx;
    }
    ASSERT_EQ(scheduler.running().size() + scheduler.waiting().size(), clients_.size());
  }

  std::mt19937_64 random_{20240611};
  std::map<uint64_t, Client> clients_;
  uint64_t next_seed_ = 1;
  int64_t next_arrival_idx_ = 0;
  int64_t num_ended_ = 0;
  int64_t num_aborted_ = 0;
  int64_t num_replayed_ = 0;
  int64_t num_sparse_ = 0;
  steady_clock::time_point now_ = steady_clock::time_point{} + std::chrono::hours(1);
};

TEST_P(SchedulerWalkTest, InvariantsHold) {
  const WalkCase& walk = GetParam();
  Scheduler scheduler(walk.config);
  SchedulerReplica replica(walk.config);
  StepPlan plan;
  int64_t num_arrived = 0;
  int64_t num_steps = 0;
  int64_t num_waits = 0;
  std::optional<StepResult> in_flight;
  double arrivals_due = 0;
  while (num_arrived < walk.num_requests || scheduler.has_work()) {
    ASSERT_LT(++num_steps, 100 * walk.num_requests) << "no progress";
    now_ += milliseconds(1);
    // In bursts: the rate is zero for a while, then double.
    arrivals_due += num_steps / 500 % 2 == 0 ? 2 * walk.arrivals_per_step : 0;
    for (; arrivals_due >= 1 && num_arrived < walk.num_requests; arrivals_due -= 1) {
      if (static_cast<int64_t>(scheduler.waiting().size()) >= walk.config.max_waiting) break;
      Arrive(scheduler);
      ++num_arrived;
    }
    CancelSome();
    scheduler.DropEnded(now_);
    if (in_flight && scheduler.WouldPreempt()) {
      scheduler.Commit(*std::exchange(in_flight, {}));
      ++num_waits;
    }
    scheduler.Schedule(&plan);
    CheckPlan(scheduler, plan);
    CheckWritten(scheduler, plan);
    const StepResult result = replica.Execute(plan);
    if (in_flight) scheduler.Commit(*std::exchange(in_flight, {}));
    if (plan.kind == PlanKind::kRun) {
      walk.ahead ? static_cast<void>(in_flight = result) : scheduler.Commit(result);
    }
    ASSERT_LE(replica.num_unconfirmed(), walk.ahead ? 3u : 1u);
    Collect();
    CheckState(scheduler);
    if (HasFatalFailure() || HasFailure()) return;
  }
  EXPECT_EQ(num_ended_, walk.num_requests);
  EXPECT_GT(num_aborted_, walk.num_requests / 100);
  EXPECT_EQ(scheduler.blocks_free(), walk.config.num_blocks);
  RecordProperty("steps", std::to_string(num_steps));
  if (walk.config.selection.enabled()) {
    EXPECT_GT(num_sparse_, 1000);
    EXPECT_GT(num_replayed_, 1000);
  } else {
    EXPECT_EQ(num_sparse_ + num_replayed_, 0);
  }
  RecordProperty("preemptions", std::to_string(scheduler.num_preempted_total()));
  // The tight pools are there to preempt; the roomy one never should.
  const bool roomy =
      walk.config.num_blocks * walk.config.block_tokens >=
      walk.config.max_num_seqs * (walk.config.max_model_len + walk.config.block_tokens);
  if (roomy) {
    EXPECT_EQ(scheduler.num_preempted_total(), 0);
  } else {
    EXPECT_GT(scheduler.num_preempted_total(), 100);
    EXPECT_EQ(num_waits > 100, walk.ahead);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Walks, SchedulerWalkTest,
    testing::Values(
        WalkCase{"Roomy", Config(8, 32, 64, 200, 4, 1, 64), 20'000, 24, 0.6},
        WalkCase{"Selecting", Selecting(Config(8, 32, 64, 16, 4, 2, 64)), 15'000, 24, 0.4},
        WalkCase{"TightPool", Config(8, 32, 64, 16, 4, 2, 64), 25'000, 24, 0.4},
        WalkCase{"OneTokenBlocks", Config(16, 16, 40, 60, 1, 1, 32), 20'000, 30, 0.5},
        WalkCase{"TightBudget", Config(6, 6, 48, 20, 8, 3, 16), 15'000, 40, 0.15},
        WalkCase{"ManySlots", Config(32, 64, 64, 64, 4, 1, 128), 20'000, 30, 1.0},
        WalkCase{"RoomyAhead", Config(8, 32, 64, 200, 4, 1, 64), 20'000, 24, 0.6, true},
        WalkCase{"SelectingAhead", Selecting(Config(8, 32, 64, 16, 4, 2, 64)), 15'000, 24, 0.4,
                 true},
        WalkCase{"TightPoolAhead", Config(8, 32, 64, 16, 4, 2, 64), 25'000, 24, 0.4, true},
        WalkCase{"OneTokenBlocksAhead", Config(16, 16, 40, 60, 1, 1, 32), 20'000, 30, 0.5, true},
        WalkCase{"TightBudgetAhead", Config(6, 6, 48, 20, 8, 3, 16), 15'000, 40, 0.15, true}),
    [](const testing::TestParamInfo<WalkCase>& walk) { return walk.param.name; });

}  // namespace
}  // namespace tamis
