// SPDX-License-Identifier: Apache-2.0
// Worker and engine on a GPU: the same tokens as on the CPU, and graphs that change no bits.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>

#include "parallel/cuda_group.h"
#include "parallel/groups.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/memory_budget.h"

namespace tamis {
namespace {

// Heads of 64 and blocks of 16 take the fast paths of attention.
ModelConfig SmallModel() {
  ModelConfig model;
  model.architecture = "llama";
  model.hidden_size = 256;
  model.num_layers = 4;
  model.num_q_heads = 6;
  model.num_kv_heads = 2;
  model.head_dim = 64;
  model.ffn_size = 512;
  model.vocab_size = 1000;
  model.max_positions = 1024;
  return model;
}

SchedulerConfig SmallConfig(bool selects) {
  SchedulerConfig config;
  config.max_num_seqs = 11;
  config.max_num_batched_tokens = 64;
  config.max_model_len = 700;
  config.num_blocks = 400;
  config.block_tokens = 16;
  config.max_waiting = 64;
  config.max_logprobs = 5;
  if (!selects) return config;
  config.selection.filter_layers = {1};
  config.selection.budget = {24, 0.0};
  config.selection.max_selected_tokens = 200;
  config.selection.sink_tokens = 2;
  config.selection.recent_tokens = 6;
  config.selection.min_context = 40;
  config.num_groups = 2;
  return config;
}

struct WorkerKind {
  DeviceKind device = DeviceKind::kCuda;
  DType dtype = DType::kF32;
  bool enforce_eager = false;
};

std::unique_ptr<Worker> MakeWorker(const SchedulerConfig& scheduler, const WorkerKind& kind,
                                   Group& group) {
  const ModelConfig model = SmallModel();
  const ModelShard shard = ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size,
                                      model.vocab_size, group.control->rank(),
                                      group.control->size());
  WorkerConfig config;
  config.limits = StepLimitsOf(scheduler);
  config.kv = {scheduler.block_tokens, scheduler.num_blocks, kind.dtype};
  config.selection = scheduler.selection;
  config.device = kind.device;
  config.enforce_eager = kind.enforce_eager;
  ModelWeights weights = AllocateWeights(model, shard, kind.dtype, kind.device);
  FillDummyWeights(model, shard, 7, weights,
                   kind.device == DeviceKind::kCuda ? Stream::Cuda() : Stream::Cpu());
  return std::make_unique<Worker>(config, model, shard, std::move(weights), *group.collectives);
}

// Prompts of 1 to about 430 tokens; every fourth request selects in its own way.
std::vector<std::shared_ptr<Request>> MakeRequests(const SchedulerConfig& config, int count,
                                                   uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t end) { return static_cast<int32_t>(random() % end); };
  std::vector<std::shared_ptr<Request>> requests;
  for (int i = 0; i < count; ++i) {
    auto request = std::make_shared<Request>();
    request->id = std::to_string(i);
    const int32_t length = i % 3 == 0 ? 1 + below(430) : 1 + below(60);
    for (int32_t t = 0; t < length; ++t) request->prompt.push_back(below(1000));
    request->sampling.temperature = 0.0f;
    request->sampling.max_tokens = 5 + below(60);
    request->sampling.seed = random();
    if (config.selection.enabled() && i % 4 == 1) {
      request->selection = {SelectionMode::kOn, SelectionBudget{12 + below(180), 0.0}};
    }
    if (config.selection.enabled() && i % 4 == 2) request->selection.mode = SelectionMode::kOff;
    requests.push_back(std::move(request));
  }
  return requests;
}

// The events of every request.
using Served = std::vector<std::vector<TokenEvent>>;

Served ServeAll(const SchedulerConfig& config, Group& group, Worker& worker,
                const std::vector<std::shared_ptr<Request>>& requests) {
  Served served(requests.size());
  Engine engine(config, *group.control, worker);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i]->on_token = [&served, i](const TokenEvent& e) { served[i].push_back(e); };
    EXPECT_EQ(engine.Submit(requests[i]), SubmitResult::kAccepted);
  }
  engine.Drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));
  engine.Run();
  EXPECT_EQ(engine.stats().kv_blocks_free, config.num_blocks);
  return served;
}

// Equal up to where the CPU's two best logits are closer than rounding: there "the same" is luck.
void ExpectSameTokens(const Served& cpu, const Served& cuda) {
  size_t num_tokens = 0, num_compared = 0;
  for (size_t i = 0; i < cpu.size(); ++i) {
    num_tokens += cpu[i].size();
    for (size_t t = 0; t < cpu[i].size(); ++t) {
      const auto& top = cpu[i][t].logprobs.top;
      if (top[0].second - top[1].second < 2e-4f) break;
      ASSERT_LT(t, cuda[i].size()) << "request " << i;
      ASSERT_EQ(cuda[i][t].token_id, cpu[i][t].token_id) << "request " << i << " token " << t;
      ASSERT_EQ(cuda[i][t].finish, cpu[i][t].finish) << "request " << i << " token " << t;
      ++num_compared;
    }
  }
  EXPECT_GT(num_compared, num_tokens * 8 / 10);
}

class EngineGpuTest : public testing::TestWithParam<bool> {
 protected:
  // Serves 30 requests on CPU and GPU; some end at a stop token, which is sampled while the next
  // step is in flight already.
  void CompareWithCpu(const SchedulerConfig& config, bool enforce_eager) {
    auto requests = MakeRequests(config, 30, 3);
    Group cpu_group = MakeSelfGroup();
    const auto cpu = MakeWorker(config, {DeviceKind::kCpu}, cpu_group);
    for (auto& request : requests) request->sampling.num_logprobs = 2;
    const Served free_run = ServeAll(config, cpu_group, *cpu, requests);
    for (size_t i = 0; i < requests.size(); i += 2) {
      const std::vector<TokenEvent>& events = free_run[i];
      requests[i]->sampling.stop_token_ids = {events[events.size() / 2].token_id};
    }
    const auto again = MakeWorker(config, {DeviceKind::kCpu}, cpu_group);
    const Served expected = ServeAll(config, cpu_group, *again, requests);

    // Logprobs of the most likely are left out: with them steps would not run as graphs.
    for (auto& request : requests) request->sampling.num_logprobs = 0;
    Group group = MakeSelfGroup();
    const auto cuda =
        MakeWorker(config, {DeviceKind::kCuda, DType::kF32, enforce_eager}, group);
    const Served got = ServeAll(config, group, *cuda, requests);
    ExpectSameTokens(expected, got);
    EXPECT_EQ(cuda->num_graph_steps() > 20, !enforce_eager);
  }
};

TEST_P(EngineGpuTest, TheSameTokensAsOnTheCpu) { CompareWithCpu(SmallConfig(GetParam()), false); }

TEST_P(EngineGpuTest, TheSameTokensEagerly) { CompareWithCpu(SmallConfig(GetParam()), true); }

TEST_P(EngineGpuTest, PreemptionDoesNotShow) {
  SchedulerConfig config = SmallConfig(GetParam());
  config.num_blocks = 60;
  CompareWithCpu(config, false);
}

TEST_P(EngineGpuTest, TwoRanksShareAGpu) {
  const SchedulerConfig config = SmallConfig(GetParam());
  auto requests = MakeRequests(config, 12, 5);
  for (auto& request : requests) request->sampling.num_logprobs = 2;
  Group self = MakeSelfGroup();
  const auto cpu = MakeWorker(config, {DeviceKind::kCpu}, self);
  const Served expected = ServeAll(config, self, *cpu, requests);
  Served got;
  RunLoopback(2, [&](int rank, Group& host) {
    Group group = OnCuda(std::move(host), CudaTransport::kHost);
    const auto worker = MakeWorker(config, {}, group);
    if (rank == 0) {
      got = ServeAll(config, group, *worker, requests);
    } else {
      FollowLeader(*group.control, *worker);
    }
    host = std::move(group);
  });
  ExpectSameTokens(expected, got);
}

// ---- graphs -------------------------------------------------------------------------------------

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// One scheduler's plans on two workers. Logprobs depend on every logit.
TEST_P(EngineGpuTest, AGraphStepEqualsAnEagerStepBitForBit) {
  const SchedulerConfig config = SmallConfig(GetParam());
  Group group = MakeSelfGroup();
  const auto graphs = MakeWorker(config, {DeviceKind::kCuda, DType::kBF16, false}, group);
  const auto eager = MakeWorker(config, {DeviceKind::kCuda, DType::kBF16, true}, group);
  Scheduler scheduler(config);
  const auto requests = MakeRequests(config, 40, 11);
  size_t next = 0;
  StepPlan plan;
  for (int step = 0; next < requests.size() || scheduler.has_work(); ++step) {
    ASSERT_LT(step, 5000);
    // They come one by one, then all at once.
    if (next < requests.size() && (step % 7 == 0 || step > 150)) {
      requests[next]->on_token = [](const TokenEvent&) {};
      if (next % 2 == 0) requests[next]->sampling.temperature = 0.8f;
      scheduler.Add(requests[next++]);
    }
    scheduler.Schedule(&plan);
    graphs->Launch(plan);
    eager->Launch(plan);
    if (plan.kind != PlanKind::kRun) continue;
    const StepResult a = graphs->Wait();
    const StepResult b = eager->Wait();
    ASSERT_TRUE(std::ranges::equal(a.tokens, b.tokens)) << "step " << step;
    ASSERT_TRUE(SameBits(a.logprobs, b.logprobs)) << "step " << step;
    scheduler.Commit(a);
  }
  EXPECT_GT(graphs->num_graph_steps(), 100);
  EXPECT_EQ(eager->num_graph_steps(), 0);
}

INSTANTIATE_TEST_SUITE_P(DenseAndSparse, EngineGpuTest, testing::Values(false, true));

}  // namespace
}  // namespace tamis
