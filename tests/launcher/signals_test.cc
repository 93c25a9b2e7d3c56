// SPDX-License-Identifier: Apache-2.0
#include "launcher/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

namespace tamis {
namespace {

// In a process of its own: masks and handlers stay behind. Exits 0 if the signal arrives.
[[noreturn]] void CatchOne(int signal) {
  std::atomic<int> caught{0};
  CatchSignals({signal});
  const SignalThread thread([&](int number) { caught = number; });
  kill(getpid(), signal);
  for (int i = 0; i < 1000 && caught == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  _exit(caught == signal ? 0 : 1);
}

TEST(SignalsDeathTest, ACaughtSignalBecomesACall) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(CatchOne(SIGUSR1), testing::ExitedWithCode(0), "");
}

TEST(SignalsDeathTest, ASignalThatWasInheritedBlockedArrives) {
  // The child is executed anew: all its threads inherit the mask, those of libraries too.
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  EXPECT_EXIT(CatchOne(SIGUSR1), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(CatchOne(SIGTERM), testing::ExitedWithCode(0), "");
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

}  // namespace
}  // namespace tamis
