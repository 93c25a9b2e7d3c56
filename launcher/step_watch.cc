// SPDX-License-Identifier: Apache-2.0
#include "launcher/step_watch.h"

#include "absl/strings/str_cat.h"

namespace tamis {

StepHooks StepWatch::hooks() {
  StepHooks hooks;
  hooks.begin = [this](const StepPlan& plan) { Begin(plan); };
  hooks.end = [this] { End(); };
  return hooks;
}

void StepWatch::Begin(const StepPlan& plan) {
  start_ = std::chrono::steady_clock::now();
  heartbeat_.Arm(absl::StrCat("--step-timeout passed in ", DescribePlan(plan)),
                 start_ + step_timeout_);
  signs_.BeginStep(start_ + step_timeout_);
  // Before a preemption the engine waits once more for a plan that has run: it counts once.
  shape_ = plan.step_id == last_step_ ? StepShape{} : ShapeOf(plan);
  last_step_ = plan.step_id;
}

void StepWatch::End() {
  heartbeat_.Disarm();
  signs_.EndStep();
  const auto took = std::chrono::steady_clock::now() - start_;
  if (metrics_ != nullptr && shape_.num_tokens > 0) {
    metrics_->ObserveStep(shape_, std::chrono::duration<double>(took).count());
  }
}

}  // namespace tamis
