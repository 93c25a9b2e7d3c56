// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/selection_counts.h"

#include <algorithm>

namespace tamis {

void CountSelection(const StepPlan& plan, SelectionCounts* counts) {
  if (plan.kind != PlanKind::kRun) return;
  for (const PlanSequence& part : plan.sequences) {
    if (!part.is_decode) continue;
    const SelectionPlan& selection = part.selection;
    if (!selection.sparse()) {
      ++counts->dense_tokens_total;
      continue;
    }
    const int64_t context = part.position + 1;
    const int64_t listed =
        std::min(selection.k, selection.candidate_end - selection.candidate_begin);
    ++counts->sparse_tokens_total;
    counts->attended_tokens_total += selection.sink_end + listed + context - selection.tail_begin;
    counts->context_tokens_total += context;
  }
}

}  // namespace tamis
