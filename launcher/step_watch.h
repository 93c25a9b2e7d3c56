// SPDX-License-Identifier: Apache-2.0
// Everybody who wants to know when steps begin and end, behind the engine's hooks: the watchdog,
// the vital signs and, on rank 0, the metrics.
//
// Where the host is a step ahead (GPUs) a step's time runs from its plan's arrival to the result of
// the step before: a period all the same, counted under the newer plan's phase.
#pragma once

#include <chrono>

#include "launcher/metrics.h"
#include "launcher/vital_signs.h"
#include "parallel/heartbeat.h"
#include "runtime/engine/engine.h"

namespace tamis {

// Its hooks run on the engine thread. What it is given outlives it.
class StepWatch {
 public:
  StepWatch(Heartbeat& heartbeat, VitalSigns& signs, std::chrono::milliseconds step_timeout)
      : heartbeat_(heartbeat), signs_(signs), step_timeout_(step_timeout) {}

  StepHooks hooks();
  // nullptr ends it. Not while steps run.
  void SetMetrics(Metrics* metrics) { metrics_ = metrics; }

 private:
  void Begin(const StepPlan& plan);
  void End();

  Heartbeat& heartbeat_;
  VitalSigns& signs_;
  const std::chrono::milliseconds step_timeout_;
  Metrics* metrics_ = nullptr;
  StepShape shape_;
  int64_t last_step_ = -1;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace tamis
