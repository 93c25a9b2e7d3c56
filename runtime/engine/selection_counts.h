// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/engine/step_plan.h"
#include "runtime/model/selection_stats.h"

namespace tamis {

// Adds the decoding sequences of a plan.
void CountSelection(const StepPlan& plan, SelectionCounts* counts);

}  // namespace tamis
