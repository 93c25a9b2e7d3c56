// SPDX-License-Identifier: Apache-2.0
// Executes step plans on one rank: integers in, tensors inside, tokens out. The same on every rank;
// owns all of the rank's model memory.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "kernels/scratch.h"
#include "parallel/collectives.h"
#include "runtime/engine/step_plan.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/llama.h"
#include "runtime/model/step_input_buffers.h"

namespace tamis {

struct WorkerConfig {
  StepLimits limits;
  KvCacheConfig kv;
  SelectionConfig selection = {};
  SelectionObserver observer = nullptr;  // sees every filter layer of every step
  DeviceKind device = DeviceKind::kCpu;
  bool assume_prefilled = false;  // for benchmarks: assume_prefilled.h
};

// Engine thread only. Allocates nothing after construction. Dies when a plan does not fit what this
// rank has seen so far: a rank that disagrees with the leader must not go on.
class Worker {
 public:
  // `collectives` outlives the worker.
  Worker(const WorkerConfig& config, const ModelConfig& model, const ModelShard& shard,
         ModelWeights weights, Collectives& collectives);

  // Checks the plan's `confirmed` against what this rank sampled, applies its block tables, and,
  // for kRun, queues the step on the stream. Every kRun is followed by Wait before the next plan.
  void Launch(const StepPlan& plan);

  // Blocks until the launched step is done. The result is valid until the next Launch.
  StepResult Wait();

  int rank() const { return collectives_.rank(); }
  const KvCache& kv() const { return kv_; }
  size_t scratch_high_water() const { return scratch_.high_water(); }

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
  void CopyResults(const StepInputs& inputs);

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

  std::vector<Slot> slots_;                   // [max_num_seqs]
  std::vector<std::vector<int32_t>> tables_;  // per group: [max_num_seqs, blocks_max]

  // Results in host memory, and the point in the stream at which they are there.
  Buffer results_;
  TensorView sampled_host_;       // i32 [S_max]
  TensorView logprobs_host_;      // f32 [S_max]
  TensorView top_tokens_host_;    // i32 [S_max, N_max]
  TensorView top_logprobs_host_;  // f32 [S_max, N_max]
  Event done_;
  bool in_flight_ = false;

  std::vector<SlotToken> sampled_;  // in the launched or last step; token ids are there after Wait
  int64_t sampled_step_ = -1;       // -1 = confirmed since
};

}  // namespace tamis
