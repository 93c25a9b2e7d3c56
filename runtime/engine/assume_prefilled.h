// SPDX-License-Identifier: Apache-2.0
// For benchmarks: decoding at a context that nobody prefilled.
#pragma once

#include "runtime/engine/step_plan.h"

namespace tamis {

// The plan with every prefill chunk, which must be a whole prompt, replaced by decoding its last
// token; whatever the cache's pages hold counts as the keys and values of the others. The order of
// sequences, and so of what is sampled, stays.
StepPlan AssumePrefilled(const StepPlan& plan);

}  // namespace tamis
