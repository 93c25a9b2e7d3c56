// SPDX-License-Identifier: Apache-2.0
// Engine and worker end to end on loopback ranks: what clients get does not depend on who else is
// served, on preemption or on the number of ranks.
#include "runtime/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/runtime/engine/tiny_cluster.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::ElementsAre;

std::vector<int32_t> Prompt(int seed, int length) {
  std::vector<int32_t> prompt;
  for (int i = 0; i < length; ++i) prompt.push_back((seed * 37 + i * i * 11 + i * 5) % 101);
  return prompt;
}

std::vector<std::unique_ptr<Client>> MakeClients(int count, int32_t max_tokens, int seed = 0) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<Client>(Prompt(seed + i, 1 + i * 13 % 41), max_tokens));
  }
  return clients;
}

void ServeAll(Engine& engine, const std::vector<std::unique_ptr<Client>>& clients) {
  for (const auto& client : clients) {
    ASSERT_EQ(engine.Submit(client->shared_request()), SubmitResult::kAccepted);
  }
  for (const auto& client : clients) client->AwaitEnd();
}

void AwaitBlocksFree(const Engine& engine, int64_t count) {
  const auto give_up = steady_clock::now() + seconds(30);
  while (engine.stats().kv_blocks_free != count && steady_clock::now() < give_up) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(engine.stats().kv_blocks_free, count);
}

class EngineRanksTest : public testing::TestWithParam<int> {};

// Logits of different batches and rank counts differ by rounding, about 1e-6 here; where the two
// best are closer than this, "the same token" would be luck.
constexpr float kGapNeeded = 1e-4f;

TEST_P(EngineRanksTest, ConcurrentRequestsGetWhatTheyWouldGetAlone) {
  const auto clients = MakeClients(10, 12);
  const EngineStats stats =
      RunTinyCluster(GetParam(), TinyConfig(), [&](Engine& engine) { ServeAll(engine, clients); });
  for (const auto& client : clients) {
    const Reference reference = GreedyReference(client->request().prompt, 12);
    ASSERT_GT(reference.gap_min, kGapNeeded);
    EXPECT_EQ(client->tokens(), reference.tokens);
    EXPECT_EQ(client->last_event().finish, FinishReason::kLength);
  }
  EXPECT_EQ(stats.kv_blocks_free, stats.kv_blocks_total);
  EXPECT_EQ(stats.requests_running, 0);
  EXPECT_EQ(stats.requests_waiting, 0);
  EXPECT_EQ(stats.requests_preempted_total, 0);
}

TEST_P(EngineRanksTest, PreemptionDoesNotShow) {
  SchedulerConfig config = TinyConfig();
  config.num_blocks = 24;  // one sequence of 96 tokens, or three of 32
  const auto clients = MakeClients(10, 30);
  const EngineStats stats =
      RunTinyCluster(GetParam(), config, [&](Engine& engine) { ServeAll(engine, clients); });
  EXPECT_GT(stats.requests_preempted_total, 0);
  EXPECT_EQ(stats.kv_blocks_free, 24);
  for (const auto& client : clients) {
    const Reference reference = GreedyReference(client->request().prompt, 30);
    ASSERT_GT(reference.gap_min, kGapNeeded);
    EXPECT_EQ(client->tokens(), reference.tokens);
  }
}

TEST_P(EngineRanksTest, ASeedGivesTheSameTokensInAnyCompany) {
  const auto make = [](uint64_t seed) {
    auto client = std::make_unique<Client>(Prompt(3, 9), 16);
    client->request().sampling.temperature = 0.9f;
    client->request().sampling.top_k = 40;
    client->request().sampling.top_p = 0.95f;
    client->request().sampling.seed = seed;
    return client;
  };
  const auto alone = make(11);
  RunTinyCluster(1, TinyConfig(), [&](Engine& engine) {
    engine.Submit(alone->shared_request());
    alone->AwaitEnd();
  });
  const auto again = make(11);
  const auto other = make(12);
  RunTinyCluster(GetParam(), TinyConfig(), [&](Engine& engine) {
    const auto company = MakeClients(6, 8);
    engine.Submit(company[5]->shared_request());
    engine.Submit(other->shared_request());
    engine.Submit(again->shared_request());
    for (size_t i = 0; i < 5; ++i) engine.Submit(company[i]->shared_request());
    for (const auto& client : company) client->AwaitEnd();
    again->AwaitEnd();
    other->AwaitEnd();
  });
  EXPECT_EQ(alone->tokens().size(), 16u);
  EXPECT_EQ(again->tokens(), alone->tokens());
  EXPECT_NE(other->tokens(), alone->tokens());
}

// ---- selection ----------------------------------------------------------------------------------

// What a request gets alone on one rank. Fails the test where luck would decide between tokens.
std::vector<int32_t> TokensAlone(const SchedulerConfig& config, const Request& request) {
  Client client(request.prompt, request.sampling.max_tokens);
  client.request().selection = request.selection;
  client.request().sampling.num_logprobs = 2;
  RunTinyCluster(1, config, [&](Engine& engine) {
    engine.Submit(client.shared_request());
    client.AwaitEnd();
  });
  for (const TokenEvent& event : client.events()) {
    EXPECT_GT(event.logprobs.top[0].second - event.logprobs.top[1].second, kGapNeeded);
  }
  return client.tokens();
}

// Ten requests in a cache too small for them get what each gets alone, which is not what dense
// decoding gives.
void ExpectPreemptionGoesUnnoticed(const SchedulerConfig& roomy, int num_ranks) {
  SchedulerConfig config = roomy;
  config.num_blocks = 24;
  const auto clients = MakeClients(10, 30, /*seed=*/20);
  const EngineStats stats =
      RunTinyCluster(num_ranks, config, [&](Engine& engine) { ServeAll(engine, clients); });
  EXPECT_GT(stats.requests_preempted_total, 0);
  EXPECT_EQ(stats.kv_blocks_free, 24);
  int num_unlike_dense = 0;
  for (const auto& client : clients) {
    EXPECT_EQ(client->tokens(), TokensAlone(roomy, client->request()));
    const Reference dense = GreedyReference(client->request().prompt, 30);
    num_unlike_dense += client->tokens() != dense.tokens ? 1 : 0;
  }
  EXPECT_GE(num_unlike_dense, 5) << "selection has to matter here";
}

TEST_P(EngineRanksTest, APreemptedSparseSequenceGoesOnAsIfNothingHadHappened) {
  ExpectPreemptionGoesUnnoticed(TinySelectionConfig(), GetParam());
}

// What was measured and counted reaches the engine's numbers, and no token.
TEST(EngineTest, MeasuredStepsChangeNoToken) {
  SchedulerConfig config = TinySelectionConfig();
  config.selection.mass_interval = 2;
  config.selection.dense_interval = 3;
  config.num_blocks = 24;  // some are preempted and replayed
  const auto clients = MakeClients(6, 30, /*seed=*/20);
  const SelectionStats stats =
      RunTinyCluster(2, config, [&](Engine& engine) { ServeAll(engine, clients); }).selection;
  for (const auto& client : clients) {
    EXPECT_EQ(client->tokens(), TokensAlone(TinySelectionConfig(), client->request()));
  }
  const SelectionCounts& counts = stats.counts;
  EXPECT_GT(counts.dense_tokens_total, 0) << "those below min_context";
  EXPECT_GE(counts.sparse_tokens_total + counts.dense_tokens_total, 6 * 29);
  EXPECT_EQ(counts.attended_tokens_total, 8 * counts.sparse_tokens_total) << "the budget";
  EXPECT_GT(counts.context_tokens_total, counts.attended_tokens_total);
  ASSERT_EQ(stats.measures.filters.size(), 1u);
  EXPECT_GT(stats.measures.mass_tokens_total, stats.measures.mass_steps_total);
  EXPECT_LE(stats.measures.mass_tokens_total, counts.sparse_tokens_total);
  const double mass =
      stats.measures.filters[0].sum_total / static_cast<double>(stats.measures.mass_tokens_total);
  EXPECT_GT(mass, 0.05);
  EXPECT_LT(mass, 1.0);
  EXPECT_GT(stats.measures.agreement.tokens_total, 0);
  EXPECT_GT(stats.measures.agreement.kl_max, 0.0);
}

// The window's queries of prefilled, decoded and replayed tokens are all there again.
TEST(EngineTest, APreemptedWindowComesBack) {
  SchedulerConfig config = TinySelectionConfig();
  config.selection.score = ScoreKind::kExp;
  config.selection.window_size = 6;
  ExpectPreemptionGoesUnnoticed(config, 2);
}

TEST_P(EngineRanksTest, EachRequestSelectsInItsOwnWay) {
  const SchedulerConfig config = TinySelectionConfig();
  const auto clients = MakeClients(9, 20);
  for (size_t i = 0; i < clients.size(); ++i) {
    SelectionParams& selection = clients[i]->request().selection;
    if (i % 3 == 0) selection.mode = SelectionMode::kOff;
    if (i % 3 == 1) selection = {SelectionMode::kOn, SelectionBudget{5, 0.0}};
    if (i % 3 == 2) selection = {SelectionMode::kAuto, SelectionBudget{0, 0.3}};
  }
  RunTinyCluster(GetParam(), config, [&](Engine& engine) { ServeAll(engine, clients); });
  for (size_t i = 0; i < clients.size(); ++i) {
    const Request& request = clients[i]->request();
    EXPECT_EQ(clients[i]->tokens(), TokensAlone(config, request)) << i;
    if (i % 3 == 0) {
      EXPECT_EQ(clients[i]->tokens(), GreedyReference(request.prompt, 20).tokens);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, EngineRanksTest, testing::Values(1, 2, 3));

TEST(EngineTest, LogprobsAreThoseOfTheModel) {
  Client plain(Prompt(1, 5), 6);
  Client asks(Prompt(2, 7), 6);
  asks.request().sampling.num_logprobs = 3;
  RunTinyCluster(2, TinyConfig(), [&](Engine& engine) {
    engine.Submit(plain.shared_request());
    engine.Submit(asks.shared_request());
    plain.AwaitEnd();
    asks.AwaitEnd();
  });
  const Reference reference = GreedyReference(Prompt(2, 7), 6);
  const std::vector<TokenEvent> events = asks.events();
  ASSERT_EQ(events.size(), 6u);
  for (size_t i = 0; i < events.size(); ++i) {
    const TokenLogprobs& logprobs = events[i].logprobs;
    EXPECT_NEAR(logprobs.logprob, reference.logprobs[i], 1e-5f);
    ASSERT_EQ(logprobs.top.size(), 3u);
    EXPECT_EQ(logprobs.top[0], std::pair(events[i].token_id, logprobs.logprob));
    EXPECT_GT(logprobs.top[0].second, logprobs.top[1].second);
    EXPECT_GT(logprobs.top[1].second, logprobs.top[2].second);
  }
  EXPECT_TRUE(plain.events()[0].logprobs.top.empty());
}

TEST(EngineTest, EosAndStopTokensEndARequest) {
  const std::vector<int32_t> expected = GreedyReference(Prompt(4, 6), 12).tokens;
  const auto first = [&](int32_t token) {
    return std::find(expected.begin(), expected.end(), token) - expected.begin() + 1;
  };
  Client eos(Prompt(4, 6));
  eos.request().eos_token_ids = {expected[5]};
  Client ignores(Prompt(4, 6));
  ignores.request().eos_token_ids = {expected[5]};
  ignores.request().sampling.ignore_eos = true;
  Client stops(Prompt(4, 6));
  stops.request().sampling.stop_token_ids = {expected[2]};
  RunTinyCluster(1, TinyConfig(), [&](Engine& engine) {
    for (Client* client : {&eos, &ignores, &stops}) engine.Submit(client->shared_request());
    for (Client* client : {&eos, &ignores, &stops}) client->AwaitEnd();
  });
  EXPECT_EQ(static_cast<std::ptrdiff_t>(eos.tokens().size()), first(expected[5]));
  EXPECT_EQ(eos.last_event().finish, FinishReason::kStop);
  EXPECT_EQ(ignores.tokens(), expected);
  EXPECT_EQ(ignores.last_event().finish, FinishReason::kLength);
  EXPECT_EQ(static_cast<std::ptrdiff_t>(stops.tokens().size()), first(expected[2]));
  EXPECT_EQ(stops.last_event().finish, FinishReason::kStop);
}

TEST(EngineTest, CancellingFreesTheBlocks) {
  Client client(Prompt(1, 30), 60);
  Client neighbour(Prompt(2, 8), 40);
  RunTinyCluster(2, TinyConfig(), [&](Engine& engine) {
    engine.Submit(client.shared_request());
    engine.Submit(neighbour.shared_request());
    client.AwaitTokens(2);
    client.request().cancelled = true;
    client.AwaitEnd();
    neighbour.AwaitEnd();
    AwaitBlocksFree(engine, TinyConfig().num_blocks);
  });
  EXPECT_EQ(client.last_event().finish, FinishReason::kAbort);
  EXPECT_FALSE(client.last_event().abort_is_deadline);
  EXPECT_LT(client.tokens().size(), 60u);
  EXPECT_EQ(neighbour.tokens(), GreedyReference(Prompt(2, 8), 40).tokens);
}

TEST(EngineTest, ADeadlineAborts) {
  Client client(Prompt(1, 30), 60);
  client.request().deadline = steady_clock::now() - milliseconds(1);
  RunTinyCluster(1, TinyConfig(), [&](Engine& engine) {
    engine.Submit(client.shared_request());
    client.AwaitEnd();
  });
  EXPECT_EQ(client.last_event().finish, FinishReason::kAbort);
  EXPECT_TRUE(client.last_event().abort_is_deadline);
  EXPECT_TRUE(client.tokens().empty());
}

TEST(EngineTest, TheQueueIsBounded) {
  SchedulerConfig config = TinyConfig();
  config.max_num_seqs = 2;
  config.max_waiting = 1;
  Group group = MakeSelfGroup();
  const auto worker = MakeTinyWorker(config, group);
  Engine engine(config, *group.control, *worker);
  const auto clients = MakeClients(4, 3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(engine.Submit(clients[i]->shared_request()), SubmitResult::kAccepted);
  }
  EXPECT_EQ(engine.stats().requests_waiting, 3);
  EXPECT_EQ(engine.Submit(clients[3]->shared_request()), SubmitResult::kQueueFull);
  engine.Drain(steady_clock::now() + seconds(60));
  engine.Run();
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(clients[i]->tokens().size(), 3u);
  EXPECT_TRUE(clients[3]->events().empty());
}

TEST(EngineTest, DrainFinishesWhatWasAcceptedAndRefusesTheRest) {
  const auto clients = MakeClients(6, 20);
  Client late(Prompt(9, 3));
  RunTinyCluster(2, TinyConfig(), [&](Engine& engine) {
    EXPECT_FALSE(engine.draining());
    for (const auto& client : clients) engine.Submit(client->shared_request());
    engine.Drain(steady_clock::now() + seconds(60));
    EXPECT_TRUE(engine.draining());
    EXPECT_EQ(engine.Submit(late.shared_request()), SubmitResult::kDraining);
  });
  for (const auto& client : clients) EXPECT_EQ(client->tokens().size(), 20u);
  EXPECT_TRUE(late.events().empty());
}

TEST(EngineTest, ADrainPastItsDeadlineAborts) {
  SchedulerConfig config = TinyConfig();
  config.max_num_seqs = 1;
  Client runs(Prompt(1, 4), 80);
  Client waits(Prompt(2, 4), 80);
  const EngineStats stats = RunTinyCluster(2, config, [&](Engine& engine) {
    engine.Submit(runs.shared_request());
    engine.Submit(waits.shared_request());
    runs.AwaitTokens(1);
    engine.Drain(steady_clock::now() + seconds(60));
    engine.Drain(steady_clock::now());  // changed our mind
  });
  for (Client* client : {&runs, &waits}) {
    EXPECT_EQ(client->last_event().finish, FinishReason::kAbort);
    EXPECT_EQ(client->last_event().abort_reason, "the server shuts down");
  }
  EXPECT_EQ(stats.kv_blocks_free, stats.kv_blocks_total);
}

TEST(EngineTest, AnIdleEngineBeatsOnceASecondAndWakesAtOnce) {
  std::atomic<int> num_begun{0};
  std::atomic<int> num_ended{0};
  StepHooks hooks{[&](const StepPlan&) { ++num_begun; }, [&] { ++num_ended; }};
  Client client(Prompt(1, 4), 1);
  RunTinyCluster(
      2, TinyConfig(),
      [&](Engine& engine) {
        const auto started = steady_clock::now();
        while (num_begun < 2) std::this_thread::sleep_for(milliseconds(1));
        EXPECT_GT(steady_clock::now() - started, milliseconds(1500));
        EXPECT_LT(steady_clock::now() - started, milliseconds(4000));
        const auto submitted = steady_clock::now();
        engine.Submit(client.shared_request());
        client.AwaitEnd();
        // The next heartbeat is a second away, and a tiny step takes about a millisecond.
        EXPECT_LT(steady_clock::now() - submitted, milliseconds(700));
      },
      hooks);
  EXPECT_EQ(num_begun.load(), num_ended.load());
}

}  // namespace
}  // namespace tamis
