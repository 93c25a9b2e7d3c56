// SPDX-License-Identifier: Apache-2.0
// How long a GPU waits between decoding steps: the engine serves as many requests as it has slots,
// and events in the stream tell the end of a step from the first kernel of the next. Weights are
// zero (speed does not depend on them), layers few (the gap does not depend on them either).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "parallel/groups.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/memory_budget.h"

namespace tamis {
namespace {

struct ModelShape {
  const char* name;
  int64_t hidden, layers, q_heads, kv_heads, head_dim, ffn, vocab;
};

struct Run {
  int64_t num_seqs;
  int64_t prompt_len;
  bool selects;
  bool enforce_eager;
};

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

ModelConfig ModelOf(const ModelShape& shape) {
  ModelConfig model;
  model.architecture = "llama";
  model.hidden_size = shape.hidden;
  model.num_layers = shape.layers;
  model.num_q_heads = shape.q_heads;
  model.num_kv_heads = shape.kv_heads;
  model.head_dim = shape.head_dim;
  model.ffn_size = shape.ffn;
  model.vocab_size = shape.vocab;
  model.max_positions = 131072;
  return model;
}

void Measure(const ModelShape& shape, const Run& run) {
  constexpr int kNumTokens = 200;
  const ModelConfig model = ModelOf(shape);
  SchedulerConfig scheduler;
  scheduler.max_num_seqs = run.num_seqs;
  scheduler.max_num_batched_tokens = std::max<int64_t>(512, run.num_seqs);
  scheduler.max_model_len = 131072;
  scheduler.num_blocks =
      std::max<int64_t>(8192, run.num_seqs * ((run.prompt_len + kNumTokens) / 16 + 1));
  if (run.selects) {
    scheduler.selection.filter_layers = {0};
    scheduler.selection.min_context = 0;
    scheduler.selection.budget = {std::min<int64_t>(512, run.prompt_len / 2), 0.0};
    scheduler.num_groups = 2;
  }
  WorkerConfig config;
  config.limits = StepLimitsOf(scheduler);
  config.kv = {scheduler.block_tokens, scheduler.num_blocks, DType::kBF16};
  config.selection = scheduler.selection;
  config.device = DeviceKind::kCuda;
  config.enforce_eager = run.enforce_eager;
  config.time_steps = true;
  config.log = [](const std::string& line) { std::printf("  %s\n", line.c_str()); };
  const ModelShard shard = ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size,
                                      model.vocab_size, 0, 1);
  Group group = MakeSelfGroup();
  Worker worker(config, model, shard,
                AllocateWeights(model, shard, DType::kBF16, DeviceKind::kCuda),
                *group.collectives);
  Engine engine(scheduler, *group.control, worker);
  for (int64_t i = 0; i < run.num_seqs; ++i) {
    auto request = std::make_shared<Request>();
    request->id = std::to_string(i);
    request->prompt.assign(static_cast<size_t>(run.prompt_len), 1);
    request->sampling.temperature = 0.0f;
    request->sampling.max_tokens = kNumTokens;
    request->on_token = [](const TokenEvent&) {};
    engine.Submit(std::move(request));
  }
  engine.Drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));
  engine.Run();
  std::vector<double> gaps, works;
  const std::vector<StepTime>& times = worker.step_times();
  // The last steps are all decodes of full batches but for the very end.
  for (size_t i = times.size() - kNumTokens / 2; i + 5 < times.size(); ++i) {
    gaps.push_back(times[i].gap * 1000);
    works.push_back(times[i].work * 1000);
  }
  std::printf("%-10s %5ld %7ld %-6s %-6s %9.1f %9.1f %9.1f %9.1f\n", shape.name, run.num_seqs,
              run.prompt_len, run.selects ? "sparse" : "dense",
              run.enforce_eager ? "eager" : "graph", Quantile(gaps, 0.5), Quantile(gaps, 0.9),
              Quantile(works, 0.5), Quantile(works, 0.9));
}

}  // namespace
}  // namespace tamis

int main() {
  using tamis::Run;
  const tamis::ModelShape shapes[] = {{"8B/4", 4096, 4, 32, 8, 128, 14336, 128256},
                                   {"SmolLM2", 576, 30, 9, 3, 64, 1536, 49152}};
  std::printf("%-10s %5s %7s %-6s %-6s %9s %9s %9s %9s   (microseconds)\n", "shape", "batch",
              "prompt", "", "", "gap p50", "gap p90", "step p50", "step p90");
  for (const auto& shape : shapes) {
    for (const Run& run : {Run{1, 200, false, false}, Run{1, 200, false, true},
                           Run{16, 200, false, false}, Run{16, 200, false, true},
                           Run{16, 1000, true, false}, Run{64, 200, false, false}}) {
      tamis::Measure(shape, run);
    }
  }
  return 0;
}
