// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/engine/tiny_cluster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>
#include <utility>

#include "kernels/cpu_threads.h"
#include "runtime/engine/memory_budget.h"
#include "runtime/model/selection_check.h"
#include "runtime/model/step_input_buffers.h"

namespace tamis {
namespace {

constexpr uint64_t kModelSeed = 5;

// The ranks are the threads; more of them inside a product would only hide races from sanitizers,
// which do not see into the BLAS library.
ModelWeights TinyWeights(const ModelConfig& model, const ModelShard& shard) {
  SetCpuMathThreads(1);
  ModelWeights weights = AllocateWeights(model, shard, DType::kF32, DeviceKind::kCpu);
  FillDummyWeights(model, shard, kModelSeed, weights, Stream::Cpu());
  return weights;
}

ModelShard TinyShard(const ModelConfig& model, int rank, int size) {
  return ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size, model.vocab_size, rank,
                    size);
}

}  // namespace

ModelConfig TinyModel() {
  ModelConfig model;
  model.architecture = "llama";
  model.hidden_size = 96;
  model.num_layers = 2;
  model.num_q_heads = 6;
  model.num_kv_heads = 3;
  model.head_dim = 16;
  model.ffn_size = 80;
  model.vocab_size = 101;
  model.max_positions = 256;
  return model;
}

SchedulerConfig TinyConfig() {
  SchedulerConfig config;
  config.max_num_seqs = 4;
  config.max_num_batched_tokens = 16;
  config.max_model_len = 96;
  config.num_blocks = 96;
  config.block_tokens = 4;
  config.max_waiting = 64;
  config.max_logprobs = 5;
  return config;
}

SchedulerConfig TinySelectionConfig() {
  SchedulerConfig config = TinyConfig();
  config.selection.filter_layers = {0};
  config.selection.budget = {8, 0.0};
  config.selection.sink_tokens = 1;
  config.selection.recent_tokens = 2;
  config.selection.min_context = 12;
  config.selection.max_selected_tokens = 20;
  config.num_groups = 2;
  return config;
}

std::unique_ptr<Worker> MakeTinyWorker(const SchedulerConfig& config, Group& group) {
  const ModelConfig model = TinyModel();
  const ModelShard shard = TinyShard(model, group.control->rank(), group.control->size());
  WorkerConfig worker_config;
  worker_config.limits = StepLimitsOf(config);
  worker_config.kv = {config.block_tokens, config.num_blocks, DType::kF32};
  worker_config.selection = config.selection;
  if (config.selection.enabled()) worker_config.observer = MakeSelectionCheck(*group.control);
  return std::make_unique<Worker>(worker_config, model, shard, TinyWeights(model, shard),
                                  *group.collectives);
}

Client::Client(std::vector<int32_t> prompt, int32_t max_tokens)
    : request_(std::make_shared<Request>()) {
  request_->id = "test";
  request_->prompt = std::move(prompt);
  request_->sampling.temperature = 0.0f;
  request_->sampling.max_tokens = max_tokens;
  request_->on_token = [this](const TokenEvent& event) {
    const std::scoped_lock lock(mutex_);
    EXPECT_FALSE(ended_) << "an event after the last";
    events_.push_back(event);
    ended_ = event.finish != FinishReason::kNone;
    changed_.notify_all();
  };
}

void Client::Await(const std::function<bool()>& reached) {
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), reached));
}

void Client::AwaitTokens(size_t count) {
  Await([this, count] { return ended_ || events_.size() >= count; });
}

void Client::AwaitEnd() {
  Await([this] { return ended_; });
}

std::vector<TokenEvent> Client::events() const {
  const std::scoped_lock lock(mutex_);
  return events_;
}

std::vector<int32_t> Client::tokens() const {
  std::vector<int32_t> tokens;
  for (const TokenEvent& event : events()) {
    if (event.token_id >= 0) tokens.push_back(event.token_id);
  }
  return tokens;
}

TokenEvent Client::last_event() const {
  const std::vector<TokenEvent> all = events();
  return all.empty() ? TokenEvent{} : all.back();
}

EngineStats RunTinyCluster(int num_ranks, const SchedulerConfig& config,
                           const std::function<void(Engine&)>& clients, StepHooks hooks) {
  EngineStats stats;
  RunLoopback(num_ranks, [&](int rank, Group& group) {
    const std::unique_ptr<Worker> worker = MakeTinyWorker(config, group);
    if (rank != 0) {
      FollowLeader(*group.control, *worker);
      return;
    }
    Engine engine(config, *group.control, *worker, hooks);
    std::thread client_thread([&] {
      clients(engine);
      engine.Drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));
    });
    engine.Run();
    client_thread.join();
    stats = engine.stats();
  });
  return stats;
}

Reference GreedyReference(const std::vector<int32_t>& prompt, int num_tokens) {
  const ModelConfig model = TinyModel();
  const ModelShard shard = TinyShard(model, 0, 1);
  Group group = MakeSelfGroup();
  constexpr int64_t kBlockTokens = 128;  // one block holds everything
  StepLimits limits{kBlockTokens, 1, 1, 0, kBlockTokens};
  const ModelWeights weights = TinyWeights(model, shard);
  const KvCache kv(model, shard, {kBlockTokens, 1, DType::kF32}, DenseLayerGroups(model.num_layers),
                   DeviceKind::kCpu);
  Activations act = AllocateActivations(model, shard, DType::kF32, DeviceKind::kCpu, limits);
  Scratch scratch(Buffer(MemoryKind::kCpu,
                         ScratchBytes(model, shard, DType::kF32, DeviceKind::kCpu, limits),
                         "scratch"));
  StepInputBuffers inputs(limits, 1, kBlockTokens, DeviceKind::kCpu);
  const Stream stream = Stream::Cpu();
  const LlamaContext context{model, shard, weights, kv, act, *group.collectives, scratch, stream};

  Reference reference;
  reference.gap_min = std::numeric_limits<float>::max();
  std::vector<int32_t> tokens = prompt;
  for (int i = 0; i < num_tokens; ++i) {
    const int32_t length = static_cast<int32_t>(tokens.size());
    HostStep step;
    step.token_ids = tokens;
    step.from_slot.assign(tokens.size(), -1);
    step.positions.resize(tokens.size());
    std::iota(step.positions.begin(), step.positions.end(), 0);
    step.prefill_query_starts = {0, length};
    step.prefill_context_lens = {length};
    step.groups = {{step.positions, {0}}};
    step.logit_rows = {length - 1};
    step.sample_slots = {-1};
    step.temperature = {0.0f};
    step.top_k = {0};
    step.top_p = {1.0f};
    step.min_p = {0.0f};
    step.seed = {0};
    step.sample_position = {length};
    Forward(context, inputs.Upload(step, stream));
    const float* logits = act.logits.As<float>();
    std::vector<std::pair<float, int32_t>> ranked;
    double sum = 0.0;
    for (int32_t v = 0; v < model.vocab_size; ++v) ranked.emplace_back(-logits[v], v);
    std::sort(ranked.begin(), ranked.end());
    for (const auto& [negative_logit, v] : ranked) {
      sum += std::exp(static_cast<double>(ranked[0].first - negative_logit));
    }
    reference.gap_min = std::min(reference.gap_min, ranked[1].first - ranked[0].first);
    reference.logprobs.push_back(static_cast<float>(-std::log(sum)));
    reference.tokens.push_back(ranked[0].second);
    tokens.push_back(ranked[0].second);
  }
  return reference;
}

}  // namespace tamis
