// SPDX-License-Identifier: Apache-2.0
// liveness_ranks under mpirun, for tests that do things to its ranks.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <thread>

namespace tamis {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// From a rank's loss to mpirun's end.
constexpr milliseconds kToTheEnd{10'000};

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

}  // namespace tamis
