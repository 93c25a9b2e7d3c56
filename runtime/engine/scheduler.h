// SPDX-License-Identifier: Apache-2.0
// Who runs in the next step and where their KV lives. Integers only: no device, no ranks, no text.
// Order is arrival, everywhere: what runs is always older than what waits, because the youngest is
// preempted first and goes back to the front. So the oldest sequence always advances.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "runtime/engine/block_pool.h"
#include "runtime/engine/request.h"
#include "runtime/engine/sampled_steps.h"
#include "runtime/engine/step_plan.h"

namespace tamis {

struct SchedulerConfig {
  int64_t max_num_seqs = 16;             // slots
  int64_t max_num_batched_tokens = 512;  // of one step; at least max_num_seqs
  int64_t max_model_len = 2048;          // tokens, prompt and completion together
  int64_t num_blocks = 0;                // of each layer group
  int64_t block_tokens = 16;             // P
  int num_groups = 1;                    // layer groups
  int64_t max_waiting = 256;             // requests beyond those that fill the slots
  int64_t max_logprobs = 20;             // per token, of one request
  SelectionConfig selection = {};
};

// Empty, or one sentence naming the field, its value and what is allowed.
std::string SchedulerConfigProblem(const SchedulerConfig& config);

// Empty if this request can be served under `config`, else one sentence naming what is wrong.
std::string RequestProblem(const SchedulerConfig& config, const Request& request);

// The engine's state of a request.
struct Sequence {
  std::shared_ptr<Request> request;
  int64_t arrival_idx = 0;
  std::vector<int32_t> generated;
  int32_t slot = -1;                         // -1 = waits
  int64_t num_planned = 0;                   // tokens whose KV is there after the planned steps
  int64_t num_pending = 0;                   // sampled by steps in flight: not in `generated` yet
  bool decoding = false;                     // a planned step samples for it, since it was admitted
  int64_t sparse_from = -1;                  // the first position decoded sparsely, ever; -1 = none
  std::vector<std::vector<int32_t>> blocks;  // per layer group; empty while it waits

  int64_t num_tokens() const {
    return static_cast<int64_t>(request->prompt.size() + generated.size()) + num_pending;
  }
  // What may be prefilled. The KV of later tokens depends on what was selected for them, so they
  // are replayed: decoded again, though they are known.
  int64_t num_prefill() const { return sparse_from >= 0 ? sparse_from : num_tokens(); }
  bool prefilling() const { return !decoding && num_planned < num_prefill(); }
  bool replaying() const { return !decoding && num_planned >= num_prefill(); }
  int32_t token(int64_t position) const {
    const size_t i = static_cast<size_t>(position);
    const size_t prompt_size = request->prompt.size();
    return i < prompt_size ? request->prompt[i] : generated[i - prompt_size];
  }
};

// Engine thread only. A step is Schedule, then Commit of its result. The next step may be scheduled
// before that: what the step in flight samples is decoded from its slot, and what it samples for a
// sequence that turns out to have ended is dropped. Add and the Drop and Abort functions come
// between those calls. Events go out through Request::on_token.
class Scheduler {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Dies if SchedulerConfigProblem is not empty.
  explicit Scheduler(const SchedulerConfig& config);

  // To the end of the waiting queue, whose bound is the caller's to keep. Dies if RequestProblem is
  // not empty.
  void Add(std::shared_ptr<Request> request);

  // Ends what was cancelled or is past its deadline, and frees its blocks.
  void DropEnded(TimePoint now);
  void AbortAll(const std::string& reason);

  // True if the next step has to take blocks from a sequence. Then every step in flight must be
  // committed first: what was sampled belongs to what is computed anew, and may end somebody.
  bool WouldPreempt() const;

  // Writes the next step: kRun, or kIdle when there is nothing to run.
  void Schedule(StepPlan* plan);

  // Takes what the oldest step in flight sampled: appends tokens, ends sequences, sends events.
  void Commit(const StepResult& result);

  // What was sampled and no plan has confirmed yet.
  bool has_unconfirmed() const { return steps_.num_known() > 0; }

  const SchedulerConfig& config() const { return config_; }
  bool has_work() const { return !running_.empty() || !waiting_.empty(); }
  const std::vector<int32_t>& running() const { return running_; }  // slots, oldest first
  const std::deque<Sequence>& waiting() const { return waiting_; }  // oldest first
  const Sequence& sequence(int32_t slot) const { return slots_[static_cast<size_t>(slot)]; }
  const BlockPool& pool(int group) const { return pools_[static_cast<size_t>(group)]; }
  int64_t blocks_free() const;
  int64_t num_preempted_total() const { return num_preempted_total_; }

 private:
  Sequence& at(int32_t slot) { return slots_[static_cast<size_t>(slot)]; }
  int64_t BlocksFor(int64_t num_tokens) const;
  int64_t BlocksToDecode(const Sequence& sequence) const;
  // Has a token to decode, now or when the steps in flight are done.
  bool Decodes(const Sequence& sequence) const;

  // The stages of Schedule.
  void Confirm(StepPlan* plan);
  void PlanDecodes(StepPlan* plan);
  void PlanDecode(Sequence& sequence, StepPlan* plan);
  void PlanSample(Sequence& sequence, const StepPlan& plan);
  void PlanPrefills(StepPlan* plan, int64_t* tokens_left);
  void AdmitWaiting(StepPlan* plan, int64_t* tokens_left);
  void PlanChunk(Sequence& sequence, StepPlan* plan, int64_t* tokens_left);

  // Blocks of every group for the sequence's first `num_tokens` tokens.
  void Grant(Sequence& sequence, int64_t num_tokens, StepPlan* plan);
  // Makes the youngest running sequence wait again, to be prefilled and replayed.
  void PreemptYoungest();
  // Gives blocks and slot back; the caller removes it from running_.
  void Free(Sequence& sequence);
  void Abort(Sequence& sequence, const std::string& reason, bool is_deadline);

  SchedulerConfig config_;
  std::vector<BlockPool> pools_;     // one per layer group
  std::vector<Sequence> slots_;      // [max_num_seqs]; request is null where free
  std::vector<int32_t> free_slots_;  // a stack
  std::vector<int32_t> running_;     // slots in order of arrival
  std::deque<Sequence> waiting_;     // in order of arrival, all younger than what runs
  int64_t next_arrival_idx_ = 0;
  int64_t next_step_id_ = 0;
  int64_t num_preempted_total_ = 0;

  SampledSteps steps_;
  std::vector<int32_t> freed_slots_;  // for the next plan
};

}  // namespace tamis
