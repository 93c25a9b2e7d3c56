// SPDX-License-Identifier: Apache-2.0
// The watchdog in one process, and peers as threads. What happens to real ranks: liveness_test.
#include "parallel/heartbeat.h"

#include <gtest/gtest.h>

#include <thread>

#include "parallel/groups.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr HeartbeatOptions kFast = {milliseconds(5), milliseconds(200)};

TEST(Heartbeat, OneRankHasNoPeers) {
  Group group = MakeSelfGroup();
  Heartbeat heartbeat(World{}, *group.control, kFast);
  EXPECT_EQ(heartbeat.peers(), 0);
}

TEST(Heartbeat, DisarmedInTimeTheWatchdogKeepsStill) {
  Group group = MakeSelfGroup();
  Heartbeat heartbeat(World{}, *group.control, kFast);
  for (int step = 0; step < 20; ++step) {
    heartbeat.Arm("a step", steady_clock::now() + std::chrono::seconds(5));
    heartbeat.Disarm();
  }
  heartbeat.Arm("armed anew", steady_clock::now() + milliseconds(20));
  heartbeat.Arm("armed anew", steady_clock::now() + std::chrono::seconds(5));
  std::this_thread::sleep_for(milliseconds(100));
}

TEST(Heartbeat, PeersThatLeaveAreNotMissed) {
  RunLoopback(3, [](int rank, Group& group) {
    const World world = {rank, 3, rank, 3, "here"};
    // Long enough that a busy machine does not look like a dead peer.
    const HeartbeatOptions options = {milliseconds(5), milliseconds(3000)};
    {
      Heartbeat heartbeat(world, *group.control, options);
      EXPECT_EQ(heartbeat.peers(), 2);
      if (rank != 0) std::this_thread::sleep_for(milliseconds(100));
      if (rank == 2) std::this_thread::sleep_for(milliseconds(4000));
    }
    Barrier(*group.control);
  });
}

TEST(HeartbeatDeathTest, TheWatchdogSaysWhatTookTooLong) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        Group group = MakeSelfGroup();
        Heartbeat heartbeat(World{}, *group.control, kFast);
        heartbeat.Arm("step 17", steady_clock::now() + milliseconds(20));
        std::this_thread::sleep_for(std::chrono::seconds(20));
      },
      "watchdog: this took too long: step 17");
}

}  // namespace
}  // namespace tamis
