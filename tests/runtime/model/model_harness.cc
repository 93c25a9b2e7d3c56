// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/model/model_harness.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "kernels/cpu_threads.h"

namespace tamis {
namespace {

StepLimits StepLimitsOf(const HarnessLimits& limits, const SelectionConfig& selection) {
  StepLimits step;
  step.num_tokens_max = limits.num_tokens_max;
  step.logit_rows_max = limits.logit_rows_max;
  step.num_slots = limits.num_slots;
  step.top_logprobs_max = 4;
  step.context_len_max = limits.context_len_max;
  step.selection = SelectionLimitsOf(selection, limits.context_len_max);
  return step;
}

Scratch MakeScratch(const ModelConfig& config, const ModelShard& shard, const StepLimits& limits) {
  return Scratch(Buffer(MemoryKind::kCpu,
                        ScratchBytes(config, shard, DType::kF32, DeviceKind::kCpu, limits),
                        "test scratch"));
}

}  // namespace

ModelHarness::ModelHarness(const ModelConfig& config, const ModelShard& shard, ModelWeights weights,
                           Collectives& collectives, const HarnessLimits& limits,
                           const SelectionConfig& selection)
    : config_(config),
      shard_(shard),
      limits_(StepLimitsOf(limits, selection)),
      layers_(MakeSelectionLayers(selection, config.num_layers)),
      weights_(std::move(weights)),
      collectives_(collectives),
      kv_(config, shard, {limits.block_tokens, limits.num_blocks, DType::kF32}, layers_.groups,
          DeviceKind::kCpu),
      act_(AllocateActivations(config, shard, DType::kF32, DeviceKind::kCpu, limits_)),
      scratch_(MakeScratch(config, shard, limits_)),
      buffers_(limits_, layers_.groups.num_groups, limits.block_tokens, DeviceKind::kCpu),
      free_blocks_(static_cast<size_t>(limits.num_blocks)) {
  // Ranks are threads here; the BLAS library's own threads would only fight over the cores.
  static const bool kOneThread = (SetCpuMathThreads(1), true);
  CHECK(kOneThread);
  const std::string problem =
      SelectionConfigProblem(selection, config.num_layers, limits.context_len_max);
  CHECK(problem.empty()) << problem;
  step_.groups.resize(static_cast<size_t>(layers_.groups.num_groups));
  std::iota(free_blocks_.begin(), free_blocks_.end(), 0);
  std::shuffle(free_blocks_.begin(), free_blocks_.end(), std::mt19937(7));
}

void ModelHarness::AppendRows(const TestWork& work) {
  TestSequence& sequence = *work.sequence;
  const int64_t block_tokens = kv_.config().block_tokens;
  const int64_t end = sequence.num_cached + work.num_tokens;
  while (static_cast<int64_t>(sequence.blocks.size()) * block_tokens < end) {
    CHECK(!free_blocks_.empty()) << "the test needs more blocks";
    sequence.blocks.push_back(free_blocks_.back());
    free_blocks_.pop_back();
  }
  for (int64_t position = sequence.num_cached; position < end; ++position) {
    const bool last = position + 1 == end;
    const bool from_slot = last && work.from_slot;
    if (last || work.all_logits) {
      step_.logit_rows.push_back(static_cast<int32_t>(step_.token_ids.size()));
      step_.sample_slots.push_back(last ? sequence.slot : -1);
      step_.sample_position.push_back(static_cast<int32_t>(position + 1));
    }
    step_.token_ids.push_back(from_slot ? -1 : sequence.tokens[static_cast<size_t>(position)]);
    step_.from_slot.push_back(from_slot ? sequence.slot : -1);
    step_.positions.push_back(static_cast<int32_t>(position));
    if (limits_.selection.window > 0) {
      const bool kept = end - position <= limits_.selection.window;
      step_.window_slots.push_back(kept ? sequence.slot : -1);
    }
    for (size_t g = 0; g < step_.groups.size(); ++g) {
      const int64_t block = BlockOf(sequence, static_cast<size_t>(position / block_tokens), g);
      step_.groups[g].token_slots.push_back(
          static_cast<int32_t>(block * block_tokens + position % block_tokens));
    }
  }
  sequence.num_cached = end;
}

void ModelHarness::AppendTables(std::span<const TestWork> work) {
  for (size_t g = 0; g < step_.groups.size(); ++g) {
    std::vector<int32_t>& table = step_.groups[g].block_table;
    for (const TestWork& item : work) {
      const size_t num_blocks = item.sequence->blocks.size();
      for (size_t i = 0; i < num_blocks; ++i) table.push_back(BlockOf(*item.sequence, i, g));
      table.resize(table.size() + static_cast<size_t>(buffers_.blocks_max()) - num_blocks, -1);
    }
  }
}

// Groups have different tables, so that reading another group's shows.
int32_t ModelHarness::BlockOf(const TestSequence& sequence, size_t index, size_t group) const {
  const int64_t num_blocks = kv_.config().num_blocks;
  return static_cast<int32_t>((sequence.blocks[index] + 7 * static_cast<int64_t>(group)) %
                              num_blocks);
}

ConstTensorView ModelHarness::Run(std::span<const TestWork> work) {
  step_.Clear();
  for (const TestWork& item : work) {
    AppendRows(item);
    if (item.decode) {
      CHECK(item.num_tokens == 1 && step_.prefill_context_lens.empty());
      step_.decode_context_lens.push_back(static_cast<int32_t>(item.sequence->num_cached));
      step_.selection.push_back(item.selection);
    } else {
      if (step_.prefill_query_starts.empty()) step_.prefill_query_starts.push_back(0);
      step_.prefill_query_starts.push_back(step_.prefill_query_starts.back() +
                                           static_cast<int32_t>(item.num_tokens));
      step_.prefill_context_lens.push_back(static_cast<int32_t>(item.sequence->num_cached));
    }
  }
  AppendTables(work);
  const size_t num_rows = step_.logit_rows.size();
  step_.temperature.assign(num_rows, 0.0f);
  step_.top_k.assign(num_rows, 0);
  step_.top_p.assign(num_rows, 1.0f);
  step_.min_p.assign(num_rows, 0.0f);
  step_.seed.assign(num_rows, 0);
  step_.num_top_logprobs = 0;

  inputs_ = &buffers_.Upload(step_, stream_);
  std::fill_n(act_.logits.As<float>(), act_.logits.elements(), std::nanf(""));  // poison
  if (probe_ != nullptr && probe_->Due(*inputs_)) {
    probe_->Forward(Context(), step_, *inputs_);
  } else {
    Forward(Context(), *inputs_);
  }
  return Rows(act_.logits, 0, inputs_->num_logit_rows);
}

std::vector<int32_t> ModelHarness::Sample() {
  SampleStep(Context(), *inputs_);
  const int32_t* sampled = act_.sampled.As<int32_t>();
  return {sampled, sampled + inputs_->num_logit_rows};
}

void ModelHarness::Free(TestSequence& sequence) {
  free_blocks_.insert(free_blocks_.end(), sequence.blocks.begin(), sequence.blocks.end());
  sequence.blocks.clear();
  sequence.num_cached = 0;
}

ModelWeights DummyWeights(const ModelConfig& config, const ModelShard& shard, uint64_t seed) {
  ModelWeights weights = AllocateWeights(config, shard, DType::kF32, DeviceKind::kCpu);
  FillDummyWeights(config, shard, seed, weights, Stream::Cpu());
  return weights;
}

ModelShard ShardOf(const ModelConfig& config, int rank, int size) {
  return ShardModel(config.num_q_heads, config.num_kv_heads, config.ffn_size, config.vocab_size,
                    rank, size);
}

double RelativeError(std::span<const float> a, std::span<const float> b) {
  CHECK_EQ(a.size(), b.size());
  double difference = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double delta = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += delta * delta;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / norm);  // NaN stays NaN
}

std::span<const float> RowOf(const ConstTensorView& logits, int64_t row) {
  const ConstTensorView one = Rows(logits, row, 1);
  return {one.As<float>(), static_cast<size_t>(logits.shape[1])};
}

}  // namespace tamis
