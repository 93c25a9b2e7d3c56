// SPDX-License-Identifier: Apache-2.0
// Kills and stops real ranks under a real mpirun: within 10 s it must have exited non-zero, and no
// rank may be left. Ranks that were all stopped together and go on must not take each other for
// dead.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// mpirun and its ranks, with what they print.
class Job {
 public:
  Job(int size, const std::string& seconds, const std::string& mode) {
    const std::string ranks = std::to_string(size);
    std::array<int, 2> ends = {};
    if (pipe(ends.data()) != 0) return;
    mpirun_ = fork();
    if (mpirun_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // nothing outlives a test that is itself killed
      dup2(ends[1], STDOUT_FILENO);
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      execl(MPIEXEC, MPIEXEC, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n",
            ranks.c_str(), LIVENESS_RANKS, seconds.c_str(), mode.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    output_ = fdopen(ends[0], "r");
    char* line = nullptr;
    size_t capacity = 0;
    while (pids_.size() < static_cast<size_t>(size) && getline(&line, &capacity, output_) > 0) {
      Parse(line);
    }
    std::free(line);
  }
  ~Job() {
    if (mpirun_ > 0 && !ended_) {
      kill(mpirun_, SIGKILL);
      for (const auto& [rank, pid] : pids_) kill(pid, SIGKILL);
      waitpid(mpirun_, nullptr, 0);
    }
    if (output_ != nullptr) std::fclose(output_);
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  size_t ranks_started() const { return pids_.size(); }
  void Signal(int rank, int signal) const { kill(pids_.at(rank), signal); }

  // False if mpirun has not ended in time; else *status is waitpid's.
  bool WaitForEnd(milliseconds timeout, int* status) {
    const auto deadline = steady_clock::now() + timeout;
    while (steady_clock::now() < deadline) {
      if (waitpid(mpirun_, status, WNOHANG) == mpirun_) {
        ended_ = true;
        return true;
      }
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }

  // Ranks that still run, given a moment for the system to bury the others.
  int RanksLeft() const {
    int left = 0;
    for (int attempt = 0; attempt < 50; ++attempt) {
      left = 0;
      for (const auto& [rank, pid] : pids_) left += Runs(pid) ? 1 : 0;
      if (left == 0) return 0;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return left;
  }

  // Everything printed since the ranks started; call after the end.
  std::string Output() {
    std::string text;
    std::array<char, 4096> block = {};
    size_t bytes = 0;
    while ((bytes = std::fread(block.data(), 1, block.size(), output_)) > 0) {
      text.append(block.data(), bytes);
    }
    return text;
  }

 private:
  void Parse(const char* line) {
    int rank = 0;
    int pid = 0;
    int peers = 0;
    if (std::sscanf(line, "rank %d pid %d peers %d", &rank, &pid, &peers) != 3) return;
    pids_[rank] = pid;
  }
  static bool Runs(int pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string number;
    std::string name;
    std::string state;
    return static_cast<bool>(stat >> number >> name >> state) && state != "Z";
  }

  pid_t mpirun_ = -1;
  bool ended_ = false;
  FILE* output_ = nullptr;
  std::map<int, pid_t> pids_;
};

constexpr milliseconds kToTheEnd{10'000};

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
