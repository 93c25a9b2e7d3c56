// SPDX-License-Identifier: Apache-2.0
// The group cases over thread ranks, by the hub and by shared memory, and how waits end.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "parallel/groups.h"
#include "parallel/shared_collectives.h"
#include "parallel/staged_collectives.h"
#include "tests/parallel/group_cases.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;

struct Param {
  GroupCase group_case;
  int size;
};

std::vector<Param> Params(const std::vector<int>& sizes) {
  std::vector<Param> params;
  for (int size : sizes) {
    for (const GroupCase& group_case : GroupCases()) params.push_back({group_case, size});
  }
  return params;
}

std::string NameOf(const testing::TestParamInfo<Param>& info) {
  return std::string(info.param.group_case.name) + std::to_string(info.param.size);
}

class LoopbackTest : public testing::TestWithParam<Param> {};

TEST_P(LoopbackTest, Case) {
  RunLoopback(GetParam().size, [&](int rank, Group& group) {
    ASSERT_EQ(group.control->rank(), rank);
    ASSERT_EQ(group.collectives->rank(), rank);
    ASSERT_EQ(group.collectives->size(), GetParam().size);
    GetParam().group_case.run(group, Stream::Cpu());
  });
}

// The shared-memory transport does not care whether its ranks are processes.
TEST_P(LoopbackTest, CaseInSharedMemory) {
  const int size = GetParam().size;
  RunLoopback(size, [&](int rank, Group& group) {
    const World world = {rank, size, rank, size, "here"};
    group.collectives = MakeSharedCollectives(world, *group.control);
    ASSERT_NE(group.collectives, nullptr);
    GetParam().group_case.run(group, Stream::Cpu());
  });
}

INSTANTIATE_TEST_SUITE_P(Loopback, LoopbackTest, testing::ValuesIn(Params({1, 2, 3, 4, 5, 8})),
                         NameOf);

class StagedTest : public testing::TestWithParam<Param> {};

// Staging does not care what device it copies from.
TEST_P(StagedTest, Case) {
  RunLoopback(GetParam().size, [&](int, Group& group) {
    const std::unique_ptr<Collectives> host = std::move(group.collectives);
    group.collectives = MakeStagedCollectives(*host);
    GetParam().group_case.run(group, Stream::Cpu());
    group.collectives = nullptr;  // before what it uses
  });
}

INSTANTIATE_TEST_SUITE_P(Staged, StagedTest, testing::ValuesIn(Params({1, 3})), NameOf);

class SelfTest : public testing::TestWithParam<GroupCase> {};

TEST_P(SelfTest, Case) {
  Group group = MakeSelfGroup();
  GetParam().run(group, Stream::Cpu());
}

INSTANTIATE_TEST_SUITE_P(Self, SelfTest, testing::ValuesIn(GroupCases()),
                         [](const auto& test) { return test.param.name; });

TEST(SharedCollectives, NotOverSeveralHosts) {
  RunLoopback(4, [](int rank, Group& group) {
    const World world = {rank, 4, rank % 2, 2, rank < 2 ? "one" : "two"};
    EXPECT_EQ(MakeSharedCollectives(world, *group.control), nullptr);
    Barrier(*group.control);
  });
}

void Reduce(Group& group, int64_t items) {
  std::vector<float> x(static_cast<size_t>(items));
  group.collectives->AllReduce(TensorView(x.data(), {items}, DType::kF32, DeviceKind::kCpu),
                               ReduceOp::kSum, Stream::Cpu());
}

class GroupDeathTest : public testing::Test {
 protected:
  GroupDeathTest() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(GroupDeathTest, AWaitThatLastsTooLongNamesItsCall) {
  EXPECT_DEATH(RunLoopback(2,
                           [](int rank, Group& group) {
                             group.control->set_timeout(milliseconds(100));
                             if (rank == 1) std::this_thread::sleep_for(std::chrono::seconds(20));
                             Barrier(*group.control);
                           }),
               "rank 0.*rank 0 in Control::AllGather.*only 1 of 2 ranks came in 100 ms");
}

TEST_F(GroupDeathTest, ARankThatEndsEarlyDoesNotStrandTheOthers) {
  EXPECT_DEATH(RunLoopback(3,
                           [](int rank, Group& group) {
                             if (rank == 1) return;
                             std::string plan;
                             group.control->Broadcast(&plan);
                           }),
               "in Control::Broadcast: 1 of 3 ranks have ended");
}

TEST_F(GroupDeathTest, RanksInDifferentCallsAreFoundOut) {
  EXPECT_DEATH(RunLoopback(2, [](int rank, Group& group) { Reduce(group, rank + 1); }),
               "rank 1 and rank 0 are in different calls");
}

TEST_F(GroupDeathTest, SharedMemoryWaitsAreBounded) {
  EXPECT_DEATH(RunLoopback(2,
                           [](int rank, Group& group) {
                             const World world = {rank, 2, rank, 2, "here"};
                             group.collectives = MakeSharedCollectives(world, *group.control);
                             group.control->set_timeout(milliseconds(100));
                             if (rank == 1) std::this_thread::sleep_for(std::chrono::seconds(20));
                             Reduce(group, 576);
                           }),
               "rank 0 waited longer than 100 ms in Collectives::AllReduce for rank 1");
}

TEST_F(GroupDeathTest, SharedMemoryRanksInDifferentCallsAreFoundOut) {
  EXPECT_DEATH(RunLoopback(2,
                           [](int rank, Group& group) {
                             const World world = {rank, 2, rank, 2, "here"};
                             group.collectives = MakeSharedCollectives(world, *group.control);
                             Reduce(group, rank + 1);
                           }),
               "is not in the same Collectives::AllReduce as rank");
}

TEST_F(GroupDeathTest, WhatCannotBeReducedIsRefused) {
  Group group = MakeSelfGroup();
  int32_t x = 0;
  EXPECT_DEATH(group.collectives->AllReduce(TensorView(&x, {1}, DType::kI32, DeviceKind::kCpu),
                                            ReduceOp::kSum, Stream::Cpu()),
               "all-reduce of");
}

}  // namespace
}  // namespace tamis
