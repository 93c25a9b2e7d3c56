// SPDX-License-Identifier: Apache-2.0
// What the latest steps sampled, from the moment they are planned until every rank has compared.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/check.h"

namespace tamis {

// Steps whose results the host may still wait for while it prepares the next: the one that runs and
// one behind it.
constexpr int64_t kStepsInFlightMax = 2;

struct SampledRow {
  int32_t slot = 0;
  int32_t token_id = -1;     // -1 until known
  int64_t arrival_idx = -1;  // of the sequence, where the scheduler keeps them
};

struct SampledStep {
  int64_t step_id = -1;
  std::vector<SampledRow> rows;  // in the plan's order
};

// A queue in the order of steps: first those whose tokens are known, then those in flight. Keeps
// its memory.
class SampledSteps {
 public:
  explicit SampledSteps(size_t num_slots) {
    for (SampledStep& step : ring_) step.rows.reserve(num_slots);
  }

  int64_t num_known() const { return num_known_; }
  int64_t num_in_flight() const { return size_ - num_known_; }

  // The newest, in flight, without rows yet.
  SampledStep& Add(int64_t step_id) {
    CHECK_LT(size_, kSizeMax) << "steps that nobody confirms";
    SampledStep& step = at(size_++);
    step.step_id = step_id;
    step.rows.clear();
    return step;
  }

  // The oldest in flight, whose tokens become known now.
  SampledStep& MakeKnown() {
    CHECK_GT(num_in_flight(), 0) << "no step is in flight";
    return at(num_known_++);
  }

  // The oldest of all, and known.
  const SampledStep& known() {
    CHECK_GT(num_known_, 0);
    return at(0);
  }
  void DropKnown() {
    CHECK_GT(num_known_, 0);
    first_ = (first_ + 1) % kSizeMax;
    --size_;
    --num_known_;
  }

 private:
  // A plan confirms one step, so there are never more known ones than were in flight at once.
  static constexpr int64_t kSizeMax = 2 * kStepsInFlightMax;
  SampledStep& at(int64_t i) { return ring_[static_cast<size_t>((first_ + i) % kSizeMax)]; }

  std::array<SampledStep, kSizeMax> ring_;
  int64_t first_ = 0;
  int64_t size_ = 0;
  int64_t num_known_ = 0;
};

}  // namespace tamis
