// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/worker.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "kernels/trace.h"
#include "runtime/engine/assume_prefilled.h"

namespace tamis {
namespace {

Stream MakeStream(DeviceKind device) {
  return device == DeviceKind::kCpu ? Stream::Cpu() : Stream::Cuda();
}

}  // namespace

Worker::Worker(const WorkerConfig& config, const ModelConfig& model, const ModelShard& shard,
               ModelWeights weights, Collectives& collectives)
    : config_(config),
      layers_(MakeSelectionLayers(config.selection, model.num_layers)),
      model_(model),
      shard_(shard),
      weights_(std::move(weights)),
      collectives_(collectives),
      stream_(MakeStream(config.device)),
      kv_(model, shard, config.kv, layers_.groups, config.device),
      act_(AllocateActivations(model, shard, weights_.dtype, config.device, config.limits)),
      scratch_(Buffer(MemoryOf(config.device),
                      ScratchBytes(model, shard, weights_.dtype, config.device, config.limits),
                      "scratch")),
      inputs_(config.limits, layers_.groups.num_groups, config.kv.block_tokens, config.device),
      probe_(config.selection, model, layers_, config.log),
      results_(act_, config.device),
      sampled_(static_cast<size_t>(config.limits.num_slots)) {
  const StepLimits& limits = config_.limits;
  CHECK_EQ(limits.logit_rows_max, limits.num_slots) << "every slot may sample in one step";
  const size_t num_groups = static_cast<size_t>(layers_.groups.num_groups);
  slots_.resize(static_cast<size_t>(limits.num_slots));
  tables_.assign(num_groups, std::vector<int32_t>(
                                 slots_.size() * static_cast<size_t>(inputs_.blocks_max()), 0));
  host_step_.groups.resize(num_groups);
  host_step_.Reserve(limits, inputs_.blocks_max());

  if (config.device == DeviceKind::kCpu) return;
  TuneProducts(weights_, shard_, act_, scratch_, stream_);
  if (config.time_steps) timer_ = StepTimer(config.device);
  const auto queue = [this](const StepInputs& inputs) { Queue(inputs, false); };
  WarmUpPrefill(limits, inputs_, layers_.groups.num_groups, stream_, queue);
  // An observer waits for the stream in the middle of a step.
  if (config.enforce_eager || config.observer || !collectives.capturable()) return;
  graphs_ = StepGraphs(limits, inputs_, layers_.groups.num_groups, stream_, queue, config.log);
}

void Worker::Launch(const StepPlan& plan) {
  const TraceRange range("launch step");
  CHECK_LE(steps_in_flight(), steps_ahead())
      << "step " << plan.step_id << " launched before the last was waited for";
  CheckConfirmed(plan);
  ApplyTables(plan);
  if (plan.kind != PlanKind::kRun) return;

  BuildStep(config_.assume_prefilled ? AssumePrefilled(plan) : plan);
  const StepInputs& inputs = inputs_.Upload(host_step_, stream_);
  timer_.Begin(stream_);
  const bool measured = probe_.Due(inputs);
  const Graph* graph = measured ? nullptr : graphs_.Find(inputs);
  if (graph != nullptr) {
    graph->Launch(stream_);
    ++num_graph_steps_;
  } else {
    Queue(inputs, measured);
  }
  timer_.End(stream_);
  results_.Queue(act_, num_sampling_, inputs.num_top_logprobs > 0, stream_);
}

void Worker::Queue(const StepInputs& inputs, bool measured) {
  const LlamaContext context{
      model_,       shard_,   weights_, kv_,      act_,
      collectives_, scratch_, stream_,  &layers_, config_.observer ? &config_.observer : nullptr};
  if (measured) {
    probe_.Forward(context, host_step_, inputs);
  } else {
    Forward(context, inputs);
  }
  SampleStep(context, inputs);
}

StepResult Worker::Wait() {
  const TraceRange range("wait for step");
  CHECK_GT(steps_in_flight(), 0) << "nothing was launched";
  SampledStep& step = sampled_.MakeKnown();
  const StepResult result = results_.Take();
  CHECK_EQ(result.tokens.size(), step.rows.size()) << "step " << step.step_id;
  for (size_t row = 0; row < step.rows.size(); ++row) {
    const int32_t token_id = result.tokens[row];
    CHECK(token_id >= 0 && token_id < model_.vocab_size)
        << "slot " << step.rows[row].slot << " sampled " << token_id;
    step.rows[row].token_id = token_id;
  }
  timer_.Take();
  return result;
}

void Worker::CheckConfirmed(const StepPlan& plan) {
  const char* other = " confirms another step than this rank ran";
  if (plan.confirmed_step < 0) {
    CHECK_EQ(sampled_.num_known(), 0) << "step " << plan.step_id << other;
    return;
  }
  // The leader may know what is still in flight here.
  if (sampled_.num_known() == 0 && steps_in_flight() > 0) Wait();
  CHECK_GT(sampled_.num_known(), 0) << "step " << plan.step_id << other;
  const SampledStep& mine = sampled_.known();
  CHECK_EQ(plan.confirmed_step, mine.step_id) << "step " << plan.step_id << other;
  CHECK_EQ(plan.confirmed.size(), mine.rows.size()) << "tokens of step " << mine.step_id;
  for (size_t i = 0; i < mine.rows.size(); ++i) {
    CHECK_EQ(plan.confirmed[i].slot, mine.rows[i].slot) << "in step " << mine.step_id;
    CHECK_EQ(plan.confirmed[i].token_id, mine.rows[i].token_id)
        << "slot " << mine.rows[i].slot << " in step " << mine.step_id
        << ": this rank sampled another token than the leader";
  }
  sampled_.DropKnown();
}

void Worker::ApplyTables(const StepPlan& plan) {
  for (const int32_t freed : plan.freed_slots) slot(freed) = Slot{};
  size_t next = 0;
  for (const BlockGrant& grant : plan.grants) {
    Slot& granted = slot(grant.slot);
    CHECK(grant.count > 0 && granted.num_blocks + grant.count <= inputs_.blocks_max())
        << grant.count << " blocks for slot " << grant.slot;
    for (size_t g = 0; g < tables_.size(); ++g) {
      for (int64_t i = 0; i < grant.count; ++i, ++next) {
        CHECK_LT(next, plan.block_ids.size()) << "step " << plan.step_id;
        const int32_t block_id = plan.block_ids[next];
        CHECK(block_id >= 0 && block_id < config_.kv.num_blocks) << "block " << block_id;
        table(g, grant.slot)[granted.num_blocks + i] = block_id;
      }
    }
    granted.num_blocks += grant.count;
  }
  CHECK_EQ(next, plan.block_ids.size()) << "step " << plan.step_id;
}

void Worker::BuildStep(const StepPlan& plan) {
  host_step_.Clear();
  SampledStep& step = sampled_.Add(plan.step_id);
  for (const PlanSequence& part : plan.sequences) {
    host_step_.table_width = std::max(host_step_.table_width, slot(part.slot).num_blocks);
  }
  size_t next_token = 0;
  for (const PlanSequence& part : plan.sequences) {
    CHECK(!part.is_decode || (part.num_tokens == 1 && host_step_.prefill_context_lens.empty()))
        << "decoding sequences come first, with one token each";
    const bool known = !part.is_decode || part.is_replay;
    const size_t num_known = known ? static_cast<size_t>(part.num_tokens) : 0;
    CHECK_LE(next_token + num_known, plan.token_ids.size()) << "step " << plan.step_id;
    AddTokens(part, plan.token_ids.data() + next_token);
    next_token += num_known;
    if (!part.samples) continue;
    AddSampling(part);
    step.rows.push_back({part.slot});
  }
  CHECK_EQ(next_token, plan.token_ids.size()) << "step " << plan.step_id;
  num_sampling_ = static_cast<int64_t>(step.rows.size());
  const bool decodes_only = host_step_.prefill_context_lens.empty();
  if (decodes_only && config_.device != DeviceKind::kCpu) PadToBucket(config_.limits, &host_step_);
}

void Worker::AddTokens(const PlanSequence& part, const int32_t* token_ids) {
  Slot& s = slot(part.slot);
  CHECK_GT(part.num_tokens, 0) << "slot " << part.slot;
  if (config_.assume_prefilled) s.num_tokens = part.position;
  CHECK_EQ(part.position, s.num_tokens) << "slot " << part.slot;
  s.num_tokens += part.num_tokens;
  const int64_t block_tokens = config_.kv.block_tokens;
  CHECK_LE(s.num_tokens, s.num_blocks * block_tokens) << "slot " << part.slot << " has no block";

  const int32_t context_len = static_cast<int32_t>(s.num_tokens);
  if (part.is_decode) {
    host_step_.token_ids.push_back(part.is_replay ? token_ids[0] : 0);
    host_step_.from_slot.push_back(part.is_replay ? -1 : part.slot);
    host_step_.decode_context_lens.push_back(context_len);
    host_step_.selection.push_back(part.selection);
  } else {
    std::vector<int32_t>& starts = host_step_.prefill_query_starts;
    if (starts.empty()) starts.push_back(0);
    starts.push_back(starts.back() + part.num_tokens);
    host_step_.token_ids.insert(host_step_.token_ids.end(), token_ids, token_ids + part.num_tokens);
    host_step_.from_slot.insert(host_step_.from_slot.end(), static_cast<size_t>(part.num_tokens),
                                -1);
    host_step_.prefill_context_lens.push_back(context_len);
  }
  for (int32_t i = 0; i < part.num_tokens; ++i) host_step_.positions.push_back(part.position + i);
  const int64_t window = config_.limits.selection.window;
  for (int32_t i = 0; window > 0 && i < part.num_tokens; ++i) {
    host_step_.window_slots.push_back(part.num_tokens - i <= window ? part.slot : -1);
  }

  for (size_t g = 0; g < tables_.size(); ++g) {
    HostStep::Group& group = host_step_.groups[g];
    const int32_t* blocks = table(g, part.slot);
    for (int64_t p = part.position; p < s.num_tokens; ++p) {
      group.token_slots.push_back(
          static_cast<int32_t>(blocks[p / block_tokens] * block_tokens + p % block_tokens));
    }
    group.block_table.insert(group.block_table.end(), blocks, blocks + host_step_.table_width);
  }
}

void Worker::AddSampling(const PlanSequence& part) {
  host_step_.logit_rows.push_back(static_cast<int32_t>(host_step_.token_ids.size()) - 1);
  host_step_.sample_slots.push_back(part.slot);
  host_step_.temperature.push_back(part.temperature);
  host_step_.top_k.push_back(part.top_k);
  host_step_.top_p.push_back(part.top_p);
  host_step_.min_p.push_back(part.min_p);
  host_step_.seed.push_back(part.seed);
  host_step_.sample_position.push_back(part.position + part.num_tokens);
  host_step_.num_top_logprobs = std::max<int64_t>(host_step_.num_top_logprobs, part.num_logprobs);
}

Worker::Slot& Worker::slot(int32_t index) {
  CHECK(index >= 0 && static_cast<size_t>(index) < slots_.size()) << "slot " << index;
  return slots_[static_cast<size_t>(index)];
}

int32_t* Worker::table(size_t group, int32_t slot_idx) {
  return tables_[group].data() + slot_idx * inputs_.blocks_max();
}

}  // namespace tamis
