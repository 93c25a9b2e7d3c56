// SPDX-License-Identifier: Apache-2.0
// Executes step plans on one rank: integers in, tensors inside, tokens out. The same on every rank;
// owns all of the rank's model memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/scratch.h"
#include "parallel/collectives.h"
#include "runtime/engine/sampled_steps.h"
#include "runtime/engine/step_graphs.h"
#include "runtime/engine/step_plan.h"
#include "runtime/engine/step_results.h"
#include "runtime/engine/step_timer.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/llama.h"
#include "runtime/model/selection_probe.h"
#include "runtime/model/step_input_buffers.h"

namespace tamis {

struct WorkerConfig {
  StepLimits limits;
  KvCacheConfig kv;
  SelectionConfig selection = {};
  SelectionObserver observer = nullptr;  // sees every filter layer of every step
  DeviceKind device = DeviceKind::kCpu;
  bool assume_prefilled = false;  // for benchmarks: assume_prefilled.h
  bool enforce_eager = false;     // no CUDA graphs
  bool time_steps = false;        // keep StepTimes, on GPUs, for measurements
  std::function<void(const std::string&)> log = [](const std::string&) {};
};

// Engine thread only. Allocates nothing after construction. Dies when a plan does not fit what this
// rank has seen so far: a rank that disagrees with the leader must not go on. Steps that only
// decode run as CUDA graphs where device and collectives allow it.
class Worker {
 public:
  // `collectives` outlives the worker.
  Worker(const WorkerConfig& config, const ModelConfig& model, const ModelShard& shard,
         ModelWeights weights, Collectives& collectives);

  // Checks the plan's `confirmed` against what this rank sampled (and waits for that step, should
  // it be in flight), applies its block tables, and, for kRun, queues the step on the stream. At
  // most steps_ahead() steps are in flight before.
  void Launch(const StepPlan& plan);

  // Blocks until the oldest step in flight is done. Valid until the next Launch but steps_ahead().
  StepResult Wait();

  int64_t steps_in_flight() const { return sampled_.num_in_flight(); }
  // How many steps the host may leave in flight while it prepares the next: 1 on GPUs; on CPUs,
  // where Launch itself computes, 0.
  int64_t steps_ahead() const { return config_.device == DeviceKind::kCpu ? 0 : 1; }

  int rank() const { return collectives_.rank(); }
  const KvCache& kv() const { return kv_; }
  // Of the rows that the last launched step sampled, in the plan's order; there once that step has
  // been waited for. f32 [S_max, V], equal on every rank.
  const TensorView& logits() const { return act_.logits; }
  const SelectionMeasures& selection_measures() const { return probe_.measures(); }
  size_t scratch_high_water() const { return scratch_.high_water(); }
  int64_t num_graph_steps() const { return num_graph_steps_; }  // of all so far
  const std::vector<StepTime>& step_times() const { return timer_.times(); }

 private:
  // What a slot holds. Its block tables are rows of tables_.
  struct Slot {
    int64_t num_tokens = 0;  // in the KV cache once what was launched is done
    int64_t num_blocks = 0;  // granted, of each group
  };

  void CheckConfirmed(const StepPlan& plan);
  void ApplyTables(const StepPlan& plan);
  // Fills host_step_ from the plan.
  void BuildStep(const StepPlan& plan);
  void AddTokens(const PlanSequence& part, const int32_t* token_ids);
  void AddSampling(const PlanSequence& part);
  // Forward pass and sampling, on the stream; `measured` by the probe, which found it due.
  void Queue(const StepInputs& inputs, bool measured);

  Slot& slot(int32_t index);
  int32_t* table(size_t group, int32_t slot_idx);

  WorkerConfig config_;
  SelectionLayers layers_;
  ModelConfig model_;
  ModelShard shard_;
  ModelWeights weights_;
  Collectives& collectives_;
  Stream stream_;
  KvCache kv_;
  Activations act_;
  Scratch scratch_;
  StepInputBuffers inputs_;
  HostStep host_step_;
  SelectionProbe probe_;

  std::vector<Slot> slots_;                   // [max_num_seqs]
  std::vector<std::vector<int32_t>> tables_;  // per group: [max_num_seqs, blocks_max]

  StepResults results_;
  SampledSteps sampled_;
  StepGraphs graphs_;

  StepTimer timer_;
  int64_t num_graph_steps_ = 0;
  int64_t num_sampling_ = 0;  // rows of the step that is launched, without padding
};

}  // namespace tamis
