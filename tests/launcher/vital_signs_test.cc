// SPDX-License-Identifier: Apache-2.0
#include "launcher/vital_signs.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kInterval{5};
constexpr milliseconds kPatience{100};

class VitalSignsTest : public ::testing::Test {
 protected:
  VitalSignsTest() {
    std::string name = std::filesystem::temp_directory_path() / "tamis_vital_signs.XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  ~VitalSignsTest() override { std::filesystem::remove_all(dir_); }

  std::string Path() const { return dir_ + "/heartbeat"; }
  std::string Word() const {
    std::string word;
    std::ifstream(Path()) >> word;
    return word;
  }
  template <typename Condition>
  static bool Soon(const Condition& condition) {
    const auto deadline = Clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (Clock::now() > deadline) return false;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return true;
  }

  std::string dir_;
};

TEST_F(VitalSignsTest, TheFileSaysWhatTheRankDoesAndGoesWithIt) {
  {
    VitalSigns signs(Path(), kPatience, kInterval);
    EXPECT_TRUE(Soon([&] { return Word() == "loading"; }));
    signs.SetState(RankState::kServing);
    EXPECT_TRUE(Soon([&] { return Word() == "serving"; }));
    signs.SetState(RankState::kDraining);
    signs.EndStep();
    EXPECT_TRUE(Soon([&] { return Word() == "draining"; }));
  }
  EXPECT_FALSE(std::filesystem::exists(Path()));
}

TEST_F(VitalSignsTest, AStuckEngineIsNotAliveAndItsFileGrowsOld) {
  VitalSigns signs(Path(), kPatience, kInterval);
  std::atomic<bool> alive{true};
  signs.SetReport([&](bool now) { alive = now; });
  signs.SetState(RankState::kServing);
  EXPECT_TRUE(Soon([&] { return !alive; })) << "no step ended for longer than the patience";
  const auto written = std::filesystem::last_write_time(Path());
  std::this_thread::sleep_for(10 * kInterval);
  EXPECT_EQ(std::filesystem::last_write_time(Path()), written);
  signs.EndStep();
  EXPECT_TRUE(Soon([&] { return alive.load(); }));
  signs.BeginStep(Clock::now() + std::chrono::seconds(60));
  std::this_thread::sleep_for(2 * kPatience);
  EXPECT_TRUE(alive) << "a long step within its deadline is no death";
  signs.BeginStep(Clock::now());
  EXPECT_TRUE(Soon([&] { return !alive; }));
  signs.SetReport(nullptr);
}

TEST_F(VitalSignsTest, LoadingIsBoundElsewhere) {
  VitalSigns signs("", milliseconds(1), kInterval);
  std::atomic<int> reports{0};
  std::atomic<bool> alive{true};
  signs.SetReport([&](bool now) {
    alive = alive && now;
    ++reports;
  });
  EXPECT_TRUE(Soon([&] { return reports > 5; }));
  EXPECT_TRUE(alive);
  signs.SetReport(nullptr);
}

}  // namespace
}  // namespace tamis
