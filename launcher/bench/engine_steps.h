// SPDX-License-Identifier: Apache-2.0
// Decode steps of the real engine, timed by when its tokens come: scheduling, the plan's way to the
// ranks, the forward pass, sampling and the way back, with whatever overlap the engine has.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
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
  std::vector<double> ms;  // one per step that counts, token to token
  // On GPUs, of the same steps: how long the GPU waited for the host before, and worked.
  std::vector<double> gap_us;
  std::vector<double> device_ms;
  double mean_context = 0;  // tokens of a sequence, the current one included, over those steps
};

// Lets no step begin while it is closed, so that sequences that are submitted one after the other
// begin together. Wait is the engine's StepHooks::begin, the rest another thread's.
class StepGate {
 public:
  void Close();
  void Open();
  void Wait();  // dies after a minute: somebody forgot to open

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool closed_ = false;
};

// The least context that a run of so many steps can end at.
int64_t ContextMin(const StepRun& run);

// Runs run.batch sequences together on an engine, which another thread runs, with this worker,
// whose config has assume_prefilled and time_steps, and this gate. DeadlineExceeded if it takes
// longer than run.timeout; Internal if the sequences did not decode together.
absl::StatusOr<StepTimes> TimeDecodeSteps(Engine& engine, const Worker& worker, StepGate& gate,
                                          const StepRun& run);

}  // namespace tamis
