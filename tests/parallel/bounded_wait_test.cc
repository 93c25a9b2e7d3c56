// SPDX-License-Identifier: Apache-2.0
#include "parallel/bounded_wait.h"

#include "gtest/gtest.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(WaitClock, AddsUpTheTimeBetweenLooks) {
  const WaitClock::Clock::time_point start{};
  WaitClock clock(start);
  EXPECT_EQ(clock.Waited(start + milliseconds(300)), milliseconds(300));
  EXPECT_EQ(clock.Waited(start + milliseconds(300)), milliseconds(300));
  EXPECT_EQ(clock.Waited(start + milliseconds(1100)), milliseconds(1100));
}

TEST(WaitClock, ForgivesTimeInWhichTheProcessWasStopped) {
  const WaitClock::Clock::time_point start{};
  WaitClock clock(start);
  EXPECT_EQ(clock.Waited(start + milliseconds(100)), milliseconds(100));
  EXPECT_EQ(clock.Waited(start + seconds(7200)), milliseconds(1100));
  EXPECT_EQ(clock.Waited(start + seconds(7200) + milliseconds(200)), milliseconds(1300));
}

TEST(PollUntil, DiesWhenTheTimeIsOver) {
  EXPECT_DEATH(PollUntil([] { return false; }, 3, "a call", milliseconds(20)),
               "rank 3 waited longer than 20 ms in a call");
}

}  // namespace
}  // namespace tamis
