// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/step_timer.h"

#include "runtime/engine/sampled_steps.h"

namespace tamis {
namespace {

// Those in flight, and the one before them.
constexpr int64_t kStepsKept = kStepsInFlightMax + 1;

}  // namespace

StepTimer::StepTimer(DeviceKind device) {
  if (device == DeviceKind::kCpu) return;
  for (int64_t i = 0; i < 2 * kStepsKept; ++i) events_.emplace_back(device, /*timed=*/true);
}

const Event& StepTimer::at(int64_t step, size_t place) const {
  return events_[2 * static_cast<size_t>(step % kStepsKept) + place];
}

void StepTimer::Begin(const Stream& stream) {
  if (events_.empty()) return;
  events_[2 * static_cast<size_t>(num_begun_++ % kStepsKept)].Record(stream);
}

void StepTimer::End(const Stream& stream) {
  if (events_.empty()) return;
  events_[2 * static_cast<size_t>((num_begun_ - 1) % kStepsKept) + 1].Record(stream);
}

void StepTimer::Take() {
  if (events_.empty()) return;
  const int64_t step = num_taken_++;
  if (step == 0) return;
  times_.push_back({MillisecondsBetween(at(step - 1, 1), at(step, 0)),
                    MillisecondsBetween(at(step, 0), at(step, 1))});
}

}  // namespace tamis
