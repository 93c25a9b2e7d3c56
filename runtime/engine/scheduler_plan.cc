// SPDX-License-Identifier: Apache-2.0
// What the next step does, in this order under one token budget: everyone who decodes, then running
// prefills, then new admissions. A prompt gets all its blocks when it is admitted, so that only
// decoding can run out of them.
#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "runtime/engine/scheduler.h"

namespace tamis {
namespace {

void AddPart(const Sequence& sequence, int64_t num_tokens, StepPlan* plan) {
  PlanSequence part;
  part.slot = sequence.slot;
  part.position = static_cast<int32_t>(sequence.num_planned);
  part.num_tokens = static_cast<int32_t>(num_tokens);
  part.is_decode = !sequence.prefilling();
  part.is_replay = sequence.replaying();
  part.samples = sequence.num_planned + num_tokens == sequence.num_tokens();
  if (part.samples) {
    const SamplingParams& sampling = sequence.request->sampling;
    part.temperature = sampling.temperature;
    part.top_k = sampling.top_k;
    part.top_p = sampling.top_p;
    part.min_p = sampling.min_p;
    part.seed = sampling.seed;
    part.num_logprobs = sampling.num_logprobs;
  }
  plan->sequences.push_back(part);
}

}  // namespace

void Scheduler::Schedule(StepPlan* plan) {
  plan->Clear();
  plan->step_id = next_step_id_++;
  PlanDecodes(plan);
  int64_t tokens_left =
      config_.max_num_batched_tokens - static_cast<int64_t>(plan->sequences.size());
  PlanPrefills(plan, &tokens_left);
  AdmitWaiting(plan, &tokens_left);
  plan->kind = plan->sequences.empty() ? PlanKind::kIdle : PlanKind::kRun;
  std::swap(plan->freed_slots, freed_slots_);
  freed_slots_.clear();
  Confirm(plan);
  if (plan->kind != PlanKind::kRun) return;
  SampledStep& step = steps_.Add(plan->step_id);
  for (const PlanSequence& part : plan->sequences) {
    if (part.samples) step.rows.push_back({part.slot, -1, at(part.slot).arrival_idx});
  }
}

// The oldest step that is known here; one a plan, so the ranks need not ask how many.
void Scheduler::Confirm(StepPlan* plan) {
  if (steps_.num_known() == 0) return;
  const SampledStep& step = steps_.known();
  plan->confirmed_step = step.step_id;
  for (const SampledRow& row : step.rows) plan->confirmed.push_back({row.slot, row.token_id});
  steps_.DropKnown();
}

bool Scheduler::Decodes(const Sequence& sequence) const {
  if (sequence.prefilling()) return false;
  // Tokens on their way may be its last, whatever they are.
  const auto num_generated =
      static_cast<int64_t>(sequence.generated.size()) + sequence.num_pending;
  return num_generated < sequence.request->sampling.max_tokens &&
         sequence.num_tokens() < config_.max_model_len;
}

int64_t Scheduler::BlocksToDecode(const Sequence& sequence) const {
  const auto num_blocks = static_cast<int64_t>(sequence.blocks[0].size());
  return std::max<int64_t>(0, BlocksFor(sequence.num_planned + 1) - num_blocks);
}

bool Scheduler::WouldPreempt() const {
  int64_t blocks_needed = 0;
  for (const int32_t slot : running_) {
    if (Decodes(sequence(slot))) blocks_needed += BlocksToDecode(sequence(slot));
  }
  return blocks_needed > blocks_free();
}

void Scheduler::PlanDecodes(StepPlan* plan) {
  // Oldest first; the victims are at the end of running_, so nobody planned here is preempted.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = at(running_[i]);
    if (!Decodes(sequence)) continue;
    const int64_t blocks_needed = BlocksToDecode(sequence);
    while (i < running_.size() && blocks_free() < blocks_needed) PreemptYoungest();
    if (i >= running_.size()) break;  // it was the youngest itself
    Grant(sequence, sequence.num_planned + 1, plan);
    PlanDecode(sequence, plan);
  }
}

void Scheduler::PlanDecode(Sequence& sequence, StepPlan* plan) {
  const Request& request = *sequence.request;
  AddPart(sequence, 1, plan);
  PlanSequence& part = plan->sequences.back();
  part.selection =
      PlanSelection(config_.selection, request.selection.mode,
                    request.selection.budget.value_or(config_.selection.budget),
                    sequence.num_planned + 1, static_cast<int64_t>(request.prompt.size()));
  if (part.selection.sparse() && sequence.sparse_from < 0) {
    sequence.sparse_from = sequence.num_planned;
  }
  if (part.is_replay) plan->token_ids.push_back(sequence.token(sequence.num_planned));
  ++sequence.num_planned;
  PlanSample(sequence, *plan);
}

// From here on it decodes what the plan samples for it, which the host need not know.
void Scheduler::PlanSample(Sequence& sequence, const StepPlan& plan) {
  if (!plan.sequences.back().samples) return;
  ++sequence.num_pending;
  sequence.decoding = true;
}

void Scheduler::PlanPrefills(StepPlan* plan, int64_t* tokens_left) {
  for (const int32_t slot : running_) {
    if (*tokens_left == 0) return;
    if (at(slot).prefilling()) PlanChunk(at(slot), plan, tokens_left);
  }
}

void Scheduler::AdmitWaiting(StepPlan* plan, int64_t* tokens_left) {
  while (!waiting_.empty() && !free_slots_.empty() && *tokens_left > 0) {
    const int64_t blocks_needed = BlocksFor(waiting_.front().num_tokens());
    // Leave a block for everyone who runs to grow into, or the newcomer is preempted at once. It
    // also keeps who was preempted in this step from taking back what it gave up.
    if (blocks_needed + static_cast<int64_t>(running_.size()) > blocks_free()) return;
    const int32_t slot = free_slots_.back();
    free_slots_.pop_back();
    running_.push_back(slot);
    Sequence& sequence = at(slot);
    sequence = std::move(waiting_.front());
    waiting_.pop_front();
    sequence.slot = slot;
    Grant(sequence, sequence.num_tokens(), plan);
    PlanChunk(sequence, plan, tokens_left);
  }
}

void Scheduler::PlanChunk(Sequence& sequence, StepPlan* plan, int64_t* tokens_left) {
  const int64_t num_tokens = std::min(*tokens_left, sequence.num_prefill() - sequence.num_planned);
  CHECK_GT(num_tokens, 0) << "slot " << sequence.slot << " has nothing to prefill";
  AddPart(sequence, num_tokens, plan);
  for (int64_t i = 0; i < num_tokens; ++i) {
    plan->token_ids.push_back(sequence.token(sequence.num_planned + i));
  }
  sequence.num_planned += num_tokens;
  *tokens_left -= num_tokens;
  PlanSample(sequence, *plan);
}

int64_t Scheduler::BlocksFor(int64_t num_tokens) const {
  return (num_tokens + config_.block_tokens - 1) / config_.block_tokens;
}

void Scheduler::Grant(Sequence& sequence, int64_t num_tokens, StepPlan* plan) {
  const int64_t count = BlocksFor(num_tokens) - static_cast<int64_t>(sequence.blocks[0].size());
  if (count <= 0) return;
  plan->grants.push_back({sequence.slot, static_cast<int32_t>(count)});
  for (size_t g = 0; g < pools_.size(); ++g) {
    for (int64_t i = 0; i < count; ++i) {
      const int32_t block_id = pools_[g].Take();
      sequence.blocks[g].push_back(block_id);
      plan->block_ids.push_back(block_id);
    }
  }
}

void Scheduler::PreemptYoungest() {
  CHECK_GT(running_.size(), 1u) << "one sequence alone does not fit into the KV cache";
  CHECK_EQ(steps_.num_in_flight(), 0) << "what a step in flight samples would be lost";
  Sequence& victim = at(running_.back());
  running_.pop_back();
  Sequence again;
  again.request = std::move(victim.request);
  again.arrival_idx = victim.arrival_idx;
  again.generated = std::move(victim.generated);
  again.sparse_from = victim.sparse_from;
  again.blocks.resize(pools_.size());
  Free(victim);
  waiting_.push_front(std::move(again));
  ++num_preempted_total_;
}

}  // namespace tamis
