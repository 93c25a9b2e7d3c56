// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/progress.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::StartsWith;

// A printer whose clock the test turns and whose output it keeps.
struct Printed {
  explicit Printed(bool terminal)
      : printer(
            terminal, [this](std::string_view text) { texts.emplace_back(text); },
            [this] { return now; }) {}
  void Update(milliseconds later, uint64_t done, uint64_t total) {
    now += later;
    printer.Update(done, total);
  }
  ProgressPrinter::Clock::time_point now;
  std::vector<std::string> texts;
  ProgressPrinter printer;
};

TEST(Progress, ALogGetsALineEveryTenPercent) {
  Printed printed(false);
  for (uint64_t i = 1; i <= 1000; ++i) printed.Update(milliseconds(1), i * 1000000, 1000000000);
  ASSERT_EQ(printed.texts.size(), 10u);
  EXPECT_EQ(printed.texts[0], "loading weights: 10 %, 0.10 of 1.00 GB, 1.00 GB/s");
  EXPECT_EQ(printed.texts[9], "loading weights: 100 %, 1.00 of 1.00 GB, 1.00 GB/s");
}

TEST(Progress, ASlowLoadShowsLifeEveryFiveSeconds) {
  Printed printed(false);
  for (uint64_t i = 1; i <= 20; ++i) printed.Update(milliseconds(1000), i, 1000);
  EXPECT_EQ(printed.texts.size(), 4u);
}

TEST(Progress, ATerminalGetsABar) {
  Printed printed(true);
  printed.Update(milliseconds(50), 100000000, 1000000000);  // too soon after the start
  EXPECT_TRUE(printed.texts.empty());
  printed.Update(milliseconds(450), 500000000, 1000000000);
  ASSERT_EQ(printed.texts.size(), 1u);
  EXPECT_THAT(printed.texts[0], StartsWith("\rloading weights [###############---------------]"));
  EXPECT_THAT(printed.texts[0], HasSubstr(" 50 %  0.50 of 1.00 GB  1.00 GB/s"));
  printed.Update(milliseconds(1), 1000000000, 1000000000);
  ASSERT_EQ(printed.texts.size(), 2u);
  EXPECT_EQ(printed.texts[1].back(), '\n');
  printed.Update(milliseconds(1000), 1000000000, 1000000000);  // said once
  EXPECT_EQ(printed.texts.size(), 2u);
}

TEST(Progress, OnlyRankZeroSaysSomething) {
  std::vector<std::string> lines;
  const auto log = [&](std::string_view line) { lines.emplace_back(line); };
  testing::internal::CaptureStderr();  // no terminal, whatever the test runs on
  ShowProgress(1, log)(5, 5);
  EXPECT_TRUE(lines.empty());
  ShowProgress(0, log)(5, 5);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], HasSubstr("100 %"));
}

}  // namespace
}  // namespace tamis
