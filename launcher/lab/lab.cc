// SPDX-License-Identifier: Apache-2.0
// One layer group and one block table per sequence serve every layout of filter layers, so that the
// cache need not be rebuilt for each.
#include "launcher/lab/lab.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/check.h"

namespace tamis {
namespace {

Stream StreamOn(DeviceKind device) {
  return device == DeviceKind::kCpu ? Stream::Cpu() : Stream::Cuda();
}

StepLimits PrefillLimits(const LabLimits& limits) {
  StepLimits step;
  step.num_tokens_max = limits.chunk_tokens;
  step.logit_rows_max = 1;
  step.num_slots = 1;
  step.top_logprobs_max = 0;
  step.context_len_max = limits.context_len_max;
  return step;
}

size_t ScratchBytesOf(const ModelConfig& model, const ModelShard& shard, DeviceKind device,
                      const StepLimits& limits) {
  return ScratchBytes(model, shard, DType::kF32, device, limits);
}

}  // namespace

Lab::Lab(const ModelConfig& model, ModelWeights weights, const LabLimits& limits,
         DeviceKind device)
    : model_(model),
      shard_(ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size, model.vocab_size, 0,
                        1)),
      limits_(limits),
      device_(device),
      weights_(std::move(weights)),
      group_(MakeSelfGroup()),
      stream_(StreamOn(device)),
      kv_(model, shard_, {limits.block_tokens, limits.num_blocks, DType::kF32},
          DenseLayerGroups(model.num_layers), device),
      free_blocks_(static_cast<size_t>(limits.num_blocks)),
      prefill_limits_(PrefillLimits(limits)),
      act_(AllocateActivations(model, shard_, DType::kF32, device, prefill_limits_)),
      scratch_(Buffer(MemoryOf(device), ScratchBytesOf(model, shard_, device, prefill_limits_),
                      "prefill scratch")),
      inputs_(prefill_limits_, 1, limits.block_tokens, device) {
  CHECK(weights_.dtype == DType::kF32) << "the lab computes in float32";
  step_.groups.resize(1);
  // Handed out from the back, so in ascending order.
  std::iota(free_blocks_.rbegin(), free_blocks_.rend(), 0);
}

int64_t Lab::BlocksFor(int64_t num_tokens) const {
  return (num_tokens + limits_.block_tokens - 1) / limits_.block_tokens;
}

void Lab::Reserve(LabSequence& sequence, int64_t num_tokens) {
  CHECK_LE(num_tokens, limits_.context_len_max) << "a sequence outgrows its lab";
  while (static_cast<int64_t>(sequence.blocks.size()) < BlocksFor(num_tokens)) {
    CHECK(!free_blocks_.empty()) << "the lab's KV cache is full";
    sequence.blocks.push_back(free_blocks_.back());
    free_blocks_.pop_back();
  }
}

void Lab::Free(LabSequence& sequence) {
  for (size_t i = sequence.blocks.size(); i > sequence.num_shared; --i) {
    free_blocks_.push_back(sequence.blocks[i - 1]);
  }
  sequence = {};
}

LabSequence Lab::Fork(const LabSequence& of, int64_t at) {
  CHECK(at >= 0 && at <= of.num_cached) << "fork at " << at << " of " << of.num_cached;
  LabSequence fork;
  fork.num_cached = at;
  fork.num_shared = static_cast<size_t>(at / limits_.block_tokens);
  fork.blocks.assign(of.blocks.begin(),
                     of.blocks.begin() + static_cast<int64_t>(fork.num_shared));
  if (at % limits_.block_tokens == 0) return fork;
  Reserve(fork, at);
  const auto from = static_cast<size_t>(of.blocks[fork.num_shared]);
  const auto to = static_cast<size_t>(fork.blocks.back());
  for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
    const KvPages& pages = kv_.layer(layer);
    const size_t bytes = pages.bytes() / static_cast<size_t>(pages.num_blocks);
    std::byte* data = static_cast<std::byte*>(pages.data);
    CopyBytes(data + to * bytes, device_, data + from * bytes, device_, bytes, stream_);
  }
  return fork;
}

void Lab::AppendRows(const LabSequence& sequence, std::span<const int32_t> tokens, HostStep& step,
                     int64_t blocks_max) const {
  HostStep::Group& group = step.groups[0];
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t position = sequence.num_cached + static_cast<int64_t>(i);
    const int64_t block = sequence.blocks[static_cast<size_t>(position / limits_.block_tokens)];
    step.token_ids.push_back(tokens[i]);
    step.from_slot.push_back(-1);
    step.positions.push_back(static_cast<int32_t>(position));
    group.token_slots.push_back(static_cast<int32_t>(block * limits_.block_tokens +
                                                     position % limits_.block_tokens));
  }
  group.block_table.insert(group.block_table.end(), sequence.blocks.begin(), sequence.blocks.end());
  group.block_table.resize(group.block_table.size() + static_cast<size_t>(blocks_max) -
                           sequence.blocks.size());
}

void Lab::Prefill(LabSequence& sequence, std::span<const int32_t> tokens) {
  Reserve(sequence, sequence.num_cached + static_cast<int64_t>(tokens.size()));
  const LlamaContext context{model_,       shard_,   weights_, kv_, act_, collectives(),
                             scratch_,     stream_};
  while (!tokens.empty()) {
    const size_t count = std::min(tokens.size(), static_cast<size_t>(limits_.chunk_tokens));
    step_.Clear();
    AppendRows(sequence, tokens.first(count), step_, inputs_.blocks_max());
    sequence.num_cached += static_cast<int64_t>(count);
    step_.prefill_query_starts = {0, static_cast<int32_t>(count)};
    step_.prefill_context_lens = {static_cast<int32_t>(sequence.num_cached)};
    Forward(context, inputs_.Upload(step_, stream_));
    tokens = tokens.subspan(count);
  }
}

StepLimits LabStepLimits(const Lab& lab, int64_t num_tokens, int64_t num_rows,
                         const SelectionLimits& selection) {
  StepLimits limits;
  limits.num_tokens_max = num_tokens;
  limits.logit_rows_max = num_rows;
  limits.num_slots = num_rows;
  limits.top_logprobs_max = 0;
  limits.context_len_max = lab.limits().context_len_max;
  limits.selection = selection;
  return limits;
}

Scratch MakeLabScratch(const Lab& lab, const StepLimits& limits) {
  return Scratch(Buffer(MemoryOf(lab.device()),
                        ScratchBytesOf(lab.model(), lab.shard(), lab.device(), limits),
                        "lab scratch"));
}

}  // namespace tamis
