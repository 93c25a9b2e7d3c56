// SPDX-License-Identifier: Apache-2.0
#include "kernels/check.h"

#include <gtest/gtest.h>

#include <thread>

namespace tamis {
namespace {

TEST(CheckTest, TrueConditionsPassAndEvaluateOnce) {
  int evaluations = 0;
  const auto once = [&] { return ++evaluations; };
  CHECK(once() == 1) << "not evaluated when it holds: " << once();
  EXPECT_EQ(evaluations, 1);
  CHECK_LE(1, 1);
  CHECK_NE(1, 2);
}

TEST(CheckTest, IsOneStatementInAnIf) {
  bool other_branch = false;
  if (false)
    CHECK(false) << "never reached";
  else
    other_branch = true;
  EXPECT_TRUE(other_branch);
}

TEST(CheckDeathTest, NamesConditionValuesSiteAndMessage) {
  const int blocks = 3;
  EXPECT_DEATH(CHECK_EQ(blocks, 4) << "in the pool",
               "check_test.cc:[0-9]+.*CHECK failed: blocks == 4 \\(3 vs. 4\\) in the pool");
  EXPECT_DEATH(CHECK(blocks > 5), "CHECK failed: blocks > 5");
  EXPECT_DEATH(CHECK_LT(blocks, 1), "blocks < 1 \\(3 vs. 1\\)");
}

TEST(CheckDeathTest, NamesTheRankOfTheThreadOrOfTheProcess) {
  EXPECT_DEATH(
      {
        SetFailureRank(2);
        Die("broken");
      },
      "^\\[rank 2\\] .*broken");
  EXPECT_DEATH(
      {
        SetFailureRank(5);
        std::thread([] { Die("in a helper thread"); }).join();
      },
      "\\[rank 5\\] .*in a helper thread");
  EXPECT_DEATH(
      {
        std::thread([] { SetFailureRank(7); }).join();
        SetFailureRank(3);
        Die("the thread's own rank wins");
      },
      "\\[rank 3\\]");
}

}  // namespace
}  // namespace tamis
