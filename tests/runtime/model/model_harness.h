// SPDX-License-Identifier: Apache-2.0
// One rank's whole model under a test's control: weights, cache and activations, and steps given
// as lists of (sequence, number of tokens) instead of the engine's plans.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "parallel/collectives.h"
#include "runtime/model/llama.h"
#include "runtime/model/selection_probe.h"
#include "runtime/model/step_input_buffers.h"

namespace tamis {

// A sequence as the cache sees it. Tokens are appended by the test; Run advances `num_cached`.
struct TestSequence {
  std::vector<int32_t> tokens = {};
  int64_t num_cached = 0;
  int32_t slot = -1;                 // where samples are kept; -1 = nowhere
  std::vector<int32_t> blocks = {};  // grown by the harness
};

// The next `num_tokens` of a sequence, as a decode row (then 1) or a prefill chunk.
struct TestWork {
  TestSequence* sequence = nullptr;
  int64_t num_tokens = 1;
  bool decode = false;
  bool all_logits = false;  // of every token, not the last alone
  bool from_slot = false;   // the (last) token is what the slot sampled; tokens.back() is ignored
  SelectionPlan selection = {};  // of a decode row; without one it decodes densely
};

struct HarnessLimits {
  int64_t num_tokens_max = 64;
  int64_t logit_rows_max = 64;
  int64_t num_slots = 64;
  int64_t context_len_max = 256;
  int64_t num_blocks = 256;
  int64_t block_tokens = 16;
};

class ModelHarness {
 public:
  // `weights` belong to this rank of `collectives`.
  ModelHarness(const ModelConfig& config, const ModelShard& shard, ModelWeights weights,
               Collectives& collectives, const HarnessLimits& limits,
               const SelectionConfig& selection = {});

  // One forward step; decode rows must come first. The result is [S, V], valid until the next one.
  ConstTensorView Run(std::span<const TestWork> work);
  ConstTensorView Run(const TestWork& work) { return Run(std::span(&work, 1)); }

  // Samples the step's rows greedily.
  std::vector<int32_t> Sample();

  // Blocks are handed out in a scattered order, so that tables matter.
  void Free(TestSequence& sequence);

  // Steps that `probe` finds due are run by it from now on.
  void Probe(SelectionProbe* probe) { probe_ = probe; }
  const SelectionLayers& layers() const { return layers_; }

  // Called at every filter layer from now on.
  void Observe(SelectionObserver observer) { observer_ = std::move(observer); }

  const Activations& act() const { return act_; }
  const Scratch& scratch() const { return scratch_; }
  const StepLimits& limits() const { return limits_; }

 private:
  void AppendRows(const TestWork& work);
  void AppendTables(std::span<const TestWork> work);
  LlamaContext Context() {
    return {config_,      shard_,   weights_, kv_,      act_,
            collectives_, scratch_, stream_,  &layers_, observer_ ? &observer_ : nullptr};
  }
  int32_t BlockOf(const TestSequence& sequence, size_t index, size_t group) const;

  ModelConfig config_;
  ModelShard shard_;
  StepLimits limits_;
  SelectionLayers layers_;
  ModelWeights weights_;
  Collectives& collectives_;
  Stream stream_ = Stream::Cpu();
  KvCache kv_;
  Activations act_;
  Scratch scratch_;
  StepInputBuffers buffers_;
  HostStep step_;
  const StepInputs* inputs_ = nullptr;  // of the last step
  std::vector<int32_t> free_blocks_;
  SelectionObserver observer_;
  SelectionProbe* probe_ = nullptr;
};

// This rank's weights of the dummy model of `seed`.
ModelWeights DummyWeights(const ModelConfig& config, const ModelShard& shard, uint64_t seed);
ModelShard ShardOf(const ModelConfig& config, int rank, int size);

// |a - b| / |b| over one row, in double.
double RelativeError(std::span<const float> a, std::span<const float> b);
std::span<const float> RowOf(const ConstTensorView& logits, int64_t row);

}  // namespace tamis
