// SPDX-License-Identifier: Apache-2.0
// A whole model on one rank, under an experiment's control: sequences are prefilled once and forked
// as often as settings are to be compared.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "parallel/groups.h"
#include "runtime/model/llama.h"
#include "runtime/model/step_input_buffers.h"

namespace tamis {

struct LabLimits {
  int64_t context_len_max = 8192;  // positions of a sequence
  int64_t num_blocks = 0;          // of the KV cache
  int64_t block_tokens = 16;       // P
  int64_t chunk_tokens = 512;      // most prefilled in one step
};

// Tokens whose keys and values are cached. A fork reads the blocks of what it was forked from,
// which must outlive it.
struct LabSequence {
  int64_t num_cached = 0;            // tokens
  std::vector<int32_t> blocks = {};  // one per P tokens
  size_t num_shared = 0;             // the first of them, which belong to another sequence
};

// Not thread-safe. Everything is float32, so that what differs is the settings.
class Lab {
 public:
  // `weights` are float32, on `device`.
  Lab(const ModelConfig& model, ModelWeights weights, const LabLimits& limits, DeviceKind device);

  // Blocks that a sequence of its own, or a fork's part after `at`, takes.
  int64_t BlocksFor(int64_t num_tokens) const;

  // Appends tokens by dense prefill. Dies when the cache is full: its size is the caller's sum.
  void Prefill(LabSequence& sequence, std::span<const int32_t> tokens);
  // A sequence of the first `at` tokens of `of`. Whole blocks are shared, the last part of one is
  // copied.
  LabSequence Fork(const LabSequence& of, int64_t at);
  // Gives the blocks back that are the sequence's own.
  void Free(LabSequence& sequence);
  // Makes room for `num_tokens` in all.
  void Reserve(LabSequence& sequence, int64_t num_tokens);

  // Puts a sequence's next token or tokens into `step`: rows and block table of the only group.
  void AppendRows(const LabSequence& sequence, std::span<const int32_t> tokens, HostStep& step,
                  int64_t blocks_max) const;

  const ModelConfig& model() const { return model_; }
  const ModelShard& shard() const { return shard_; }
  const ModelWeights& weights() const { return weights_; }
  const KvCache& kv() const { return kv_; }
  const LabLimits& limits() const { return limits_; }
  Collectives& collectives() { return *group_.collectives; }
  const Stream& stream() const { return stream_; }
  DeviceKind device() const { return device_; }

 private:
  ModelConfig model_;
  ModelShard shard_;
  LabLimits limits_;
  DeviceKind device_;
  ModelWeights weights_;
  Group group_;
  Stream stream_;
  KvCache kv_;
  std::vector<int32_t> free_blocks_;

  // For prefill.
  StepLimits prefill_limits_;
  Activations act_;
  Scratch scratch_;
  StepInputBuffers inputs_;
  HostStep step_;
};

// What experiments need room for.
StepLimits LabStepLimits(const Lab& lab, int64_t num_tokens, int64_t num_rows,
                         const SelectionLimits& selection);

// Scratch for steps within `limits`.
Scratch MakeLabScratch(const Lab& lab, const StepLimits& limits);

}  // namespace tamis
