// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/selection_plan.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace tamis {
namespace {

// k of the definition: all places, the forced tokens' among them.
int64_t PlacesOf(const SelectionBudget& budget, int64_t num_tokens) {
  if (budget.count > 0) return budget.count;
  return static_cast<int64_t>(std::floor(budget.fraction * static_cast<double>(num_tokens)));
}

}  // namespace

SelectionPlan PlanSelection(const SelectionConfig& config, SelectionMode mode,
                            const SelectionBudget& budget, int64_t num_tokens, int64_t prompt_len) {
  CHECK(prompt_len >= 0 && prompt_len <= num_tokens) << prompt_len << " of " << num_tokens;
  if (!config.enabled() || mode == SelectionMode::kOff) return {};
  if (mode == SelectionMode::kAuto && num_tokens < config.min_context && !config.force_sparse) {
    return {};
  }
  // 1. What is forced, and what competes between the two ends. Ends that meet count once.
  const int64_t recent = std::max<int64_t>(1, config.recent_tokens);
  const int64_t sink_end = std::min(config.sink_tokens, num_tokens);
  const int64_t recent_begin = std::max(sink_end, num_tokens - recent);
  const bool prompt = config.candidates == SelectionCandidates::kPrompt;
  const int64_t candidate_end = prompt ? std::min(recent_begin, prompt_len) : recent_begin;
  const int64_t num_candidates = candidate_end - sink_end;  // negative if sinks exceed the prompt

  // 2. How many of them: the budget less the forced tokens that it pays for.
  const int64_t paid_len = prompt ? prompt_len : num_tokens;
  const int64_t forced = paid_len - std::max<int64_t>(0, num_candidates);
  int64_t k = PlacesOf(budget, paid_len) - forced;
  if (config.force_sparse) k = std::max<int64_t>(0, num_candidates);
  if (k <= 0 || num_candidates <= 0) return {};
  if (k >= num_candidates && !config.force_sparse) return {};
  return {static_cast<int32_t>(sink_end), static_cast<int32_t>(candidate_end),
          static_cast<int32_t>(k), static_cast<int32_t>(sink_end),
          static_cast<int32_t>(candidate_end)};
}

}  // namespace tamis
