// SPDX-License-Identifier: Apache-2.0
// Waiting without hanging and without burning a core: poll with yields first, because a peer in
// step arrives within that; then sleep between polls; die when the time is over.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "kernels/check.h"

namespace tamis {

// Says who waited for what, and dies.
[[noreturn]] inline void DieOfWaiting(int rank, const std::string& call,
                                      std::chrono::milliseconds timeout) {
  Die("rank " + std::to_string(rank) + " waited longer than " + std::to_string(timeout.count()) +
      " ms in " + call);
}

// How long a wait has lasted, from looks at the clock. Of the time between two looks at most a
// second counts: what is longer, this process was stopped for, and mostly with it the one it waits
// for.
class WaitClock {
 public:
  using Clock = std::chrono::steady_clock;
  explicit WaitClock(Clock::time_point start) : last_(start) {}

  Clock::duration Waited(Clock::time_point now) {
    constexpr Clock::duration kGapMax = std::chrono::seconds(1);
    waited_ += std::min(now - last_, kGapMax);
    last_ = now;
    return waited_;
  }

 private:
  Clock::time_point last_;
  Clock::duration waited_{0};
};

// Returns once done() is true; polls at least once. `call` names the wait in the last message.
template <typename Done>
void PollUntil(const Done& done, int rank, const char* call, std::chrono::milliseconds timeout) {
  constexpr int kYields = 3000;  // about a millisecond or two of polling MPI
  constexpr auto kShortSleep = std::chrono::microseconds(200);
  constexpr auto kLongSleep = std::chrono::microseconds(1000);
  constexpr auto kIdleAfter = std::chrono::milliseconds(50);  // then the longer sleeps
  WaitClock clock(WaitClock::Clock::now());
  for (int i = 0; i < kYields; ++i) {
    if (done()) return;
    sched_yield();
  }
  while (!done()) {
    const auto waited = clock.Waited(WaitClock::Clock::now());
    if (waited > timeout) DieOfWaiting(rank, call, timeout);
    std::this_thread::sleep_for(waited < kIdleAfter ? kShortSleep : kLongSleep);
  }
}

}  // namespace tamis
