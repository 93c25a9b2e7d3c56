// SPDX-License-Identifier: Apache-2.0
// How long a GPU works on each step and waits before it, from timed events in the stream.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"

namespace tamis {

// Of one step, in milliseconds.
struct StepTime {
  double gap = 0;   // from the end of the step before to this one's first kernel
  double work = 0;  // from there to its last kernel's end
};

// Steps begin and end in the stream's order; Take follows, in the same order, once a step is done.
class StepTimer {
 public:
  StepTimer() = default;  // measures nothing
  explicit StepTimer(DeviceKind device);

  void Begin(const Stream& stream);
  void End(const Stream& stream);
  // The oldest step that was not taken is done. The first has no time: nothing was before it.
  void Take();

  const std::vector<StepTime>& times() const { return times_; }

 private:
  const Event& at(int64_t step, size_t place) const;

  std::vector<Event> events_;  // of the latest steps in turn: begin, end
  std::vector<StepTime> times_;
  int64_t num_begun_ = 0;
  int64_t num_taken_ = 0;
};

}  // namespace tamis
