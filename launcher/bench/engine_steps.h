// SPDX-License-Identifier: Apache-2.0
// Decode steps of the real engine, timed by when its tokens come: scheduling, the plan's way to the
// ranks, the forward pass, sampling and the way back, with whatever overlap the engine has.
#pragma once

#include <chrono>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/bench/decode_case.h"
#include "runtime/engine/engine.h"

namespace tamis {

struct StepRun {
  int64_t batch = 0;
  int64_t context = 0;  // tokens of each sequence when the last step ends
  int warmup = 0;       // steps that do not count
  int steps = 0;        // steps that count
  SelectionMode mode = SelectionMode::kOff;
  int64_t vocab_size = 0;
  std::chrono::duration<double> timeout{0};
};

struct StepTimes {
  std::vector<double> ms;   // one per step that counts
  double mean_context = 0;  // tokens of a sequence, the current one included, over those steps
};

// The least context that a run of so many steps can end at.
int64_t ContextMin(const StepRun& run);

// Runs run.batch sequences together on an engine whose worker assumes its prompts prefilled
// (WorkerConfig::assume_prefilled) and which another thread runs. DeadlineExceeded if it takes
// longer than run.timeout; Internal if the sequences did not decode together.
absl::StatusOr<StepTimes> TimeDecodeSteps(Engine& engine, const StepRun& run);

}  // namespace tamis
