// SPDX-License-Identifier: Apache-2.0
// The main of tests under mpirun. Rank 0 prints as usual, the others only their failures; the exit
// code of every rank is the worst of all, so that a failure on one rank fails the test.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "parallel/groups.h"
#include "tests/support/mpi_test.h"

namespace tamis {
namespace {

const MpiEnv* test_mpi = nullptr;

class FailurePrinter final : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::cerr << "[rank " << rank_ << "] " << result.file_name() << ":" << result.line_number()
              << ": " << result.message() << std::endl;
  }

 private:
  int rank_;
};

}  // namespace

const MpiEnv& TestMpi() { return *test_mpi; }

}  // namespace tamis

int main(int argc, char** argv) {
  const tamis::MpiEnv env(&argc, &argv);
  tamis::test_mpi = &env;
  testing::InitGoogleTest(&argc, argv);
  const int rank = env.world().rank;
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new tamis::FailurePrinter(rank));
  }
  const tamis::Group group = tamis::MakeMpiGroup(env);
  int worst = 0;
  for (const std::string& result : group.control->AllGather(std::to_string(RUN_ALL_TESTS()))) {
    worst = std::max(worst, std::stoi(result));
  }
  return worst;
}
