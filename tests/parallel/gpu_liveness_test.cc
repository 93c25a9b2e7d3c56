// SPDX-License-Identifier: Apache-2.0
// Kills and stops real ranks whose GPUs wait for each other: within 10 s mpirun must have exited
// non-zero, and no rank may be left. A rank that lives but does not come is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/parallel/mpi_job.h"

namespace tamis {
namespace {

struct Harm {
  const char* mode;
  int rank;
  int signal;
};

class GpuLivenessTest : public testing::TestWithParam<Harm> {};

TEST_P(GpuLivenessTest, OneLostRankEndsTheGroup) {
  Job job(2, "100", GetParam().mode);
  ASSERT_EQ(job.ranks_started(), 2u);
  std::this_thread::sleep_for(milliseconds(500));
  const auto start = steady_clock::now();
  job.Signal(GetParam().rank, GetParam().signal);
  int status = 0;
  ASSERT_TRUE(job.WaitForEnd(kToTheEnd, &status)) << "mpirun still runs";
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
  RecordProperty("ended_after_ms", static_cast<int>(took.count()));
  std::printf("ended after %d ms\n", static_cast<int>(took.count()));
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "mpirun ended with success";
  EXPECT_EQ(job.RanksLeft(), 0);
}

INSTANTIATE_TEST_SUITE_P(, GpuLivenessTest,
                         testing::Values(Harm{"gpu", 0, SIGKILL}, Harm{"gpu", 1, SIGSTOP},
                                         Harm{"ipc", 1, SIGKILL}, Harm{"ipc", 0, SIGSTOP}),
                         [](const auto& test) {
                           return std::string(test.param.mode) +
                                  (test.param.signal == SIGKILL ? "Kill" : "Stop");
                         });

TEST(GpuLiveness, AKernelsWaitIsBoundedAndNamesThePeer) {
  Job job(2, "1", "gpu-late");
  ASSERT_EQ(job.ranks_started(), 2u);
  int status = 0;
  ASSERT_TRUE(job.WaitForEnd(kToTheEnd, &status)) << "mpirun still runs";
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(job.RanksLeft(), 0);
  EXPECT_THAT(job.Output(), testing::HasSubstr("rank 1 waited longer than 2000 ms in "
                                               "Collectives::AllReduce for rank 0"));
}

}  // namespace
}  // namespace tamis
