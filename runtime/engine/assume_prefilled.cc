// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/assume_prefilled.h"

#include "kernels/check.h"

namespace tamis {

StepPlan AssumePrefilled(const StepPlan& plan) {
  StepPlan result = plan;
  result.token_ids.clear();
  size_t next_token = 0;
  for (PlanSequence& part : result.sequences) {
    if (part.is_decode && !part.is_replay) continue;
    next_token += static_cast<size_t>(part.num_tokens);
    CHECK_LE(next_token, plan.token_ids.size()) << "step " << plan.step_id;
    result.token_ids.push_back(plan.token_ids[next_token - 1]);
    if (part.is_decode) continue;
    CHECK(part.position == 0 && part.samples) << "slot " << part.slot << " prefills in chunks";
    part.position = part.num_tokens - 1;
    part.num_tokens = 1;
    part.is_decode = part.is_replay = true;
  }
  return result;
}

}  // namespace tamis
