// SPDX-License-Identifier: Apache-2.0
// The group cases under mpirun, over shared memory and over messages.
#include "parallel/mpi_group.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <thread>

#include "parallel/mpi_check.h"
#include "parallel/shared_collectives.h"
#include "tests/parallel/group_cases.h"
#include "tests/support/mpi_test.h"

namespace tamis {
namespace {

class MpiGroupTest : public testing::TestWithParam<GroupCase> {};

TEST_P(MpiGroupTest, Case) {
  Group group = MakeMpiGroup(TestMpi());
  ASSERT_EQ(group.control->size(), TestMpi().world().size);
  ASSERT_EQ(group.control->rank(), TestMpi().world().rank);
  GetParam().run(group, Stream::Cpu());
}

TEST_P(MpiGroupTest, CaseByMessages) {
  Group group = MakeMpiMessageGroup(TestMpi());
  GetParam().run(group, Stream::Cpu());
}

INSTANTIATE_TEST_SUITE_P(Mpi, MpiGroupTest, testing::ValuesIn(GroupCases()),
                         [](const auto& test) { return test.param.name; });

TEST(MpiEnv, KnowsTheWorld) {
  const World& world = TestMpi().world();
  EXPECT_TRUE(TestMpi().initialised());
  EXPECT_EQ(world.local_rank, world.rank);  // the tests run on one host
  EXPECT_EQ(world.local_size, world.size);
  EXPECT_FALSE(world.host.empty());
}

TEST(MpiEnv, ErrorsComeBack) {
  MPI_Errhandler handler = MPI_ERRHANDLER_NULL;
  ASSERT_EQ(MPI_Comm_get_errhandler(MPI_COMM_WORLD, &handler), MPI_SUCCESS);
  EXPECT_EQ(handler, MPI_ERRORS_RETURN);
  char byte = 0;
  const int nobody = TestMpi().world().size;
  EXPECT_NE(MPI_Send(&byte, 1, MPI_BYTE, nobody, 0, MPI_COMM_WORLD), MPI_SUCCESS);
}

TEST(CheckMpiDeathTest, NamesSiteAndReason) {
  // Forked, not started anew: a second process must not claim this rank's place in MPI.
  testing::FLAGS_gtest_death_test_style = "fast";
  EXPECT_DEATH(CheckMpi(MPI_ERR_TRUNCATE), "mpi_group_test.cc:[0-9]+ .*MPI error.*truncated");
  CheckMpi(MPI_SUCCESS);
}

TEST(MpiGroup, RanksOfOneHostShareMemory) {
  if (TestMpi().world().size == 1) GTEST_SKIP() << "one rank needs no transport";
  MpiControl control(TestMpi().world());
  EXPECT_NE(MakeSharedCollectives(TestMpi().world(), control), nullptr);
}

double CpuSeconds() {
  timespec time = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Followers of an idle leader. 5 % of a core is the requirement for a whole idle server.
TEST(MpiControl, WaitingCostsLittleCpu) {
  Group group = MakeMpiGroup(TestMpi());
  constexpr int kSeconds = 3;
  Barrier(*group.control);
  const double before = CpuSeconds();
  for (int i = 0; i < kSeconds; ++i) {
    if (group.control->rank() == 0) std::this_thread::sleep_for(std::chrono::seconds(1));
    std::string heartbeat = "idle";
    group.control->Broadcast(&heartbeat);
  }
  const double share = (CpuSeconds() - before) / kSeconds;
  RecordProperty("cpu_share_percent", static_cast<int>(100 * share));
  EXPECT_LT(share, 0.05);
}

}  // namespace
}  // namespace tamis
