// SPDX-License-Identifier: Apache-2.0
// Kills and stops real ranks under a real mpirun: within 10 s it must have exited non-zero, and no
// rank may be left. Ranks that were all stopped together and go on must not take each other for
// dead.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/parallel/mpi_job.h"

namespace tamis {
namespace {

struct Harm {
  int size;
  int rank;
  int signal;
};

class LivenessTest : public testing::TestWithParam<Harm> {};

TEST_P(LivenessTest, OneLostRankEndsTheGroup) {
  const Harm& harm = GetParam();
  Job job(harm.size, "100", "run");
  ASSERT_EQ(job.ranks_started(), static_cast<size_t>(harm.size));
  std::this_thread::sleep_for(milliseconds(500));
  const auto start = steady_clock::now();
  job.Signal(harm.rank, harm.signal);
  int status = 0;
  ASSERT_TRUE(job.WaitForEnd(kToTheEnd, &status)) << "mpirun still runs";
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
  RecordProperty("ended_after_ms", static_cast<int>(took.count()));
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "mpirun ended with success";
  EXPECT_EQ(job.RanksLeft(), 0);
  const std::string output = job.Output();
  if (harm.signal == SIGSTOP) {
    EXPECT_THAT(output,
                testing::HasSubstr("rank " + std::to_string(harm.rank) + " has not shown life"));
  }
}

INSTANTIATE_TEST_SUITE_P(, LivenessTest,
                         testing::Values(Harm{2, 0, SIGKILL}, Harm{2, 1, SIGKILL},
                                         Harm{2, 0, SIGSTOP}, Harm{2, 1, SIGSTOP},
                                         Harm{3, 0, SIGKILL}, Harm{3, 2, SIGKILL},
                                         Harm{3, 0, SIGSTOP}, Harm{3, 1, SIGSTOP}),
                         [](const auto& test) {
                           return std::string(test.param.signal == SIGKILL ? "Kill" : "Stop") +
                                  std::to_string(test.param.rank) + "Of" +
                                  std::to_string(test.param.size);
                         });

TEST(Liveness, RanksThatEndInGoodOrderAreNotMissed) {
  Job job(3, "1", "run");
  ASSERT_EQ(job.ranks_started(), 3u);
  int status = 0;
  ASSERT_TRUE(job.WaitForEnd(kToTheEnd, &status));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << job.Output();
}

TEST(Liveness, AGroupStoppedAsAWholeGoesOn) {
  Job job(2, "9", "run");
  ASSERT_EQ(job.ranks_started(), 2u);
  for (int rank = 0; rank < 2; ++rank) job.Signal(rank, SIGSTOP);
  std::this_thread::sleep_for(milliseconds(7000));  // above the heartbeat's timeout
  for (int rank = 0; rank < 2; ++rank) job.Signal(rank, SIGCONT);
  int status = 0;
  ASSERT_TRUE(job.WaitForEnd(kToTheEnd, &status));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << job.Output();
}

// Runs two ranks of which one stands still while its heart beats, and returns what was printed.
std::string OutputOfStandstill(const std::string& mode) {
  Job job(2, "1", mode);
  EXPECT_EQ(job.ranks_started(), 2u);
  int status = 0;
  if (!job.WaitForEnd(kToTheEnd, &status)) return "mpirun still runs";
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(job.RanksLeft(), 0);
  return job.Output();
}

TEST(Liveness, TheWatchdogEndsARankThatBeatsButHangs) {
  EXPECT_THAT(OutputOfStandstill("hang"),
              testing::HasSubstr("took too long: step of liveness_ranks"));
}

TEST(Liveness, AWaitForALeaderThatBeatsButHangsIsBounded) {
  EXPECT_THAT(OutputOfStandstill("late"),
              testing::HasSubstr("rank 1 waited longer than 2000 ms in Control::Broadcast"));
}

}  // namespace
}  // namespace tamis
