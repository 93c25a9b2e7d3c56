// SPDX-License-Identifier: Apache-2.0
// The group cases under mpirun, over shared memory and over messages.
#include "parallel/mpi_group.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <thread>

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
  GetParam().run(group);
}

TEST_P(MpiGroupTest, CaseByMessages) {
  Group group = MakeMpiMessageGroup(TestMpi());
  GetParam().run(group);
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
