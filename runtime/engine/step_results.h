// SPDX-License-Identifier: Apache-2.0
// What steps sampled, on its way from the device to the host.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/device.h"
#include "runtime/engine/sampled_steps.h"
#include "runtime/engine/step_plan.h"
#include "runtime/model/llama.h"

namespace tamis {

// Host memory for the results of the steps in flight, and the points in the stream at which they
// are there. Allocates nothing after construction.
class StepResults {
 public:
  StepResults(const Activations& act, DeviceKind device);

  // Queues the copy of the first num_rows rows behind what computes them; with `top` also of their
  // most likely tokens.
  void Queue(const Activations& act, int64_t num_rows, bool top, const Stream& stream);

  // Blocks until the oldest step that was queued and not taken is there. Valid until the next Queue
  // but one.
  StepResult Take();

 private:
  struct Place {
    explicit Place(DeviceKind device) : arrived(device) {}
    Buffer host;
    Event arrived;
    int64_t num_rows = 0;
  };
  std::array<Place, kStepsInFlightMax> places_;
  // Where the parts lie, on the device from act.sampled on and in each host buffer: bytes.
  size_t logprobs_ = 0;
  size_t top_tokens_ = 0;
  size_t top_logprobs_ = 0;
  int64_t num_top_ = 0;
  size_t next_queue_ = 0;
  size_t next_take_ = 0;
};

}  // namespace tamis
