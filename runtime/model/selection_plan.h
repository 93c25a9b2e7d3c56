// SPDX-License-Identifier: Apache-2.0
// What one decoding sequence selects from at one step, in integers. Rank 0 computes it and puts it
// into the plan, so that no rank can round a fraction its own way.
#pragma once

#include <cstdint>

#include "runtime/model/selection_config.h"

namespace tamis {

// Attended are [0, sink_end), the k first of [candidate_begin, candidate_end) in the order of
// scores, and [tail_begin, n). k = 0: the sequence decodes densely and all the others are 0 too.
struct SelectionPlan {
  int32_t candidate_begin = 0;
  int32_t candidate_end = 0;
  int32_t k = 0;
  int32_t sink_end = 0;
  int32_t tail_begin = 0;

  bool sparse() const { return k > 0; }
  bool operator==(const SelectionPlan&) const = default;
};

// For a sequence of `num_tokens` tokens, the current one included, whose first `prompt_len` are its
// prompt. The budget is the request's or config.budget; SelectionBudgetProblem has passed it.
SelectionPlan PlanSelection(const SelectionConfig& config, SelectionMode mode,
                            const SelectionBudget& budget, int64_t num_tokens, int64_t prompt_len);

}  // namespace tamis
