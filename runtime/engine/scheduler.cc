// SPDX-License-Identifier: Apache-2.0
// The life of a sequence outside of planning: it arrives, its tokens come, it ends. What the next
// step does is decided in scheduler_plan.cc.
#include "runtime/engine/scheduler.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/check.h"

namespace tamis {
namespace {

std::string TooSmall(const char* field, int64_t value, const std::string& least) {
  return std::string(field) + " is " + std::to_string(value) + "; it must be at least " + least;
}

bool Contains(const std::vector<int32_t>& list, int32_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// What the token that was appended last means for its sequence.
FinishReason FinishAfter(const Sequence& sequence, int64_t max_model_len) {
  const Request& request = *sequence.request;
  const SamplingParams& sampling = request.sampling;
  const int32_t token_id = sequence.generated.back();
  if (!sampling.ignore_eos && Contains(request.eos_token_ids, token_id)) return FinishReason::kStop;
  if (Contains(sampling.stop_token_ids, token_id)) return FinishReason::kStop;
  if (static_cast<int64_t>(sequence.generated.size()) >= sampling.max_tokens ||
      sequence.num_tokens() - sequence.num_pending >= max_model_len) {
    return FinishReason::kLength;
  }
  return FinishReason::kNone;
}

TokenLogprobs LogprobsOf(const StepResult& result, size_t row, int32_t num_logprobs) {
  TokenLogprobs logprobs;
  logprobs.logprob = result.logprobs[row];
  logprobs.top.reserve(static_cast<size_t>(num_logprobs));
  for (size_t i = 0; i < static_cast<size_t>(num_logprobs); ++i) {
    const size_t at = row * static_cast<size_t>(result.num_top) + i;
    logprobs.top.emplace_back(result.top_tokens[at], result.top_logprobs[at]);
  }
  return logprobs;
}

// A request may not ask for what the server does not do.
std::string SelectionProblem(const SchedulerConfig& config, const Request& request) {
  const SelectionParams& selection = request.selection;
  if (!config.selection.enabled()) {
    if (selection.mode != SelectionMode::kOn && !selection.budget) return "";
    return "selection: this server has no filter layers, so only mode off and auto without "
           "num_selected_tokens are allowed";
  }
  if (!selection.budget) return "";
  const int64_t num_tokens_max =
      std::min(config.max_model_len,
               static_cast<int64_t>(request.prompt.size()) + request.sampling.max_tokens);
  const std::string problem = SelectionBudgetProblem(config.selection, *selection.budget,
                                                     num_tokens_max, config.max_model_len);
  return problem.empty() ? "" : "selection: " + problem;
}

}  // namespace

std::string SchedulerConfigProblem(const SchedulerConfig& config) {
  if (config.max_num_seqs < 1) return TooSmall("max_num_seqs", config.max_num_seqs, "1");
  if (config.max_num_batched_tokens < config.max_num_seqs) {
    return TooSmall("max_num_batched_tokens", config.max_num_batched_tokens,
                    "max_num_seqs, " + std::to_string(config.max_num_seqs) +
                        ", so that every running sequence can decode in a step");
  }
  if (config.max_model_len < 2) return TooSmall("max_model_len", config.max_model_len, "2");
  if (config.max_model_len > std::numeric_limits<int32_t>::max()) {
    return "max_model_len is " + std::to_string(config.max_model_len) + "; positions have 32 bits";
  }
  if (config.block_tokens < 1) return TooSmall("block_tokens", config.block_tokens, "1");
  if (config.num_groups < 1) return TooSmall("num_groups", config.num_groups, "1");
  if (config.max_waiting < 1) return TooSmall("max_waiting", config.max_waiting, "1");
  if (config.max_logprobs < 0) return TooSmall("max_logprobs", config.max_logprobs, "0");
  const int64_t blocks_needed =
      (config.max_model_len + config.block_tokens - 1) / config.block_tokens;
  if (config.num_blocks < blocks_needed) {
    return "the KV cache has " + std::to_string(config.num_blocks) + " blocks of " +
           std::to_string(config.block_tokens) + " tokens, and one sequence of max_model_len " +
           std::to_string(config.max_model_len) + " needs " + std::to_string(blocks_needed) +
           "; give the KV cache more memory or lower max_model_len";
  }
  return "";
}

std::string RequestProblem(const SchedulerConfig& config, const Request& request) {
  if (request.prompt.empty()) return "prompt is empty";
  if (static_cast<int64_t>(request.prompt.size()) >= config.max_model_len) {
    return "prompt has " + std::to_string(request.prompt.size()) +
           " tokens; max_model_len allows " + std::to_string(config.max_model_len - 1) +
           " and one to generate";
  }
  if (request.sampling.max_tokens < 1) {
    return TooSmall("max_tokens", request.sampling.max_tokens, "1");
  }
  if (request.sampling.num_logprobs > config.max_logprobs) {
    return "logprobs is " + std::to_string(request.sampling.num_logprobs) + "; it may be at most " +
           std::to_string(config.max_logprobs);
  }
  if (!request.on_token) return "on_token is not set";
  return SelectionProblem(config, request);
}

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_(config), steps_(static_cast<size_t>(std::max<int64_t>(0, config.max_num_seqs))) {
  const std::string problem = SchedulerConfigProblem(config);
  CHECK(problem.empty()) << problem;
  for (int g = 0; g < config.num_groups; ++g) pools_.emplace_back(config.num_blocks);
  const size_t num_slots = static_cast<size_t>(config.max_num_seqs);
  slots_.resize(num_slots);
  free_slots_.reserve(num_slots);
  for (size_t i = num_slots; i > 0; --i) free_slots_.push_back(static_cast<int32_t>(i - 1));
  running_.reserve(num_slots);
  freed_slots_.reserve(num_slots);
}

void Scheduler::Add(std::shared_ptr<Request> request) {
  const std::string problem = RequestProblem(config_, *request);
  CHECK(problem.empty()) << "request " << request->id << " was not validated: " << problem;
  Sequence sequence;
  sequence.request = std::move(request);
  sequence.arrival_idx = next_arrival_idx_++;
  sequence.blocks.resize(pools_.size());
  waiting_.push_back(std::move(sequence));
}

void Scheduler::DropEnded(TimePoint now) {
  // True if it was to end, and now has.
  const auto drop = [&](Sequence& sequence) {
    if (sequence.request->cancelled.load(std::memory_order_relaxed)) {
      Abort(sequence, "the request was cancelled", /*is_deadline=*/false);
      return true;
    }
    if (sequence.request->deadline <= now) {
      Abort(sequence, "the request's deadline passed", /*is_deadline=*/true);
      return true;
    }
    return false;
  };
  std::erase_if(running_, [&](int32_t slot) { return drop(at(slot)); });
  std::erase_if(waiting_, drop);
}

void Scheduler::AbortAll(const std::string& reason) {
  for (const int32_t slot : running_) Abort(at(slot), reason, /*is_deadline=*/false);
  running_.clear();
  for (Sequence& sequence : waiting_) Abort(sequence, reason, /*is_deadline=*/false);
  waiting_.clear();
}

void Scheduler::Commit(const StepResult& result) {
  SampledStep& step = steps_.MakeKnown();
  CHECK_EQ(result.tokens.size(), step.rows.size()) << "step " << step.step_id;
  bool any_ended = false;
  for (size_t row = 0; row < step.rows.size(); ++row) {
    SampledRow& sampled = step.rows[row];
    sampled.token_id = result.tokens[row];
    Sequence& sequence = at(sampled.slot);
    // It ended while the step was in flight, and perhaps another has its slot.
    if (sequence.request == nullptr || sequence.arrival_idx != sampled.arrival_idx) continue;
    const int32_t num_logprobs = sequence.request->sampling.num_logprobs;
    TokenEvent event;
    event.token_id = sampled.token_id;
    if (num_logprobs >= 0) event.logprobs = LogprobsOf(result, row, num_logprobs);
    --sequence.num_pending;
    sequence.generated.push_back(event.token_id);
    event.finish = FinishAfter(sequence, config_.max_model_len);
    sequence.request->on_token(event);
    if (event.finish != FinishReason::kNone) {
      Free(sequence);
      any_ended = true;
    }
  }
  if (any_ended) {
    std::erase_if(running_, [&](int32_t slot) { return at(slot).request == nullptr; });
  }
}

int64_t Scheduler::blocks_free() const {
  int64_t least = pools_[0].num_free();
  for (const BlockPool& pool : pools_) least = std::min(least, pool.num_free());
  return least;
}

void Scheduler::Free(Sequence& sequence) {
  if (sequence.slot >= 0) {
    for (size_t g = 0; g < pools_.size(); ++g) {
      for (const int32_t block_id : sequence.blocks[g]) pools_[g].Release(block_id);
    }
    freed_slots_.push_back(sequence.slot);
    free_slots_.push_back(sequence.slot);
  }
  sequence = Sequence{};
}

void Scheduler::Abort(Sequence& sequence, const std::string& reason, bool is_deadline) {
  TokenEvent event;
  event.finish = FinishReason::kAbort;
  event.abort_reason = reason;
  event.abort_is_deadline = is_deadline;
  sequence.request->on_token(event);
  Free(sequence);
}

}  // namespace tamis
