// SPDX-License-Identifier: Apache-2.0
#include "launcher/vital_signs.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tamis {
namespace {

const char* StateName(RankState state) {
  switch (state) {
    case RankState::kLoading: return "loading";
    case RankState::kServing: return "serving";
    default: return "draining";
  }
}

}  // namespace

VitalSigns::VitalSigns(std::string path, std::chrono::milliseconds patience,
                       std::chrono::milliseconds interval)
    : path_(std::move(path)), patience_(patience), interval_(interval) {
  thread_ = std::thread([this] { Run(); });
}

VitalSigns::~VitalSigns() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (!path_.empty()) unlink(path_.c_str());
}

void VitalSigns::SetState(RankState state) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    state_ = state;
    last_end_ = Clock::now();
  }
  changed_.notify_all();  // whoever waits for the word need not wait an interval
}

void VitalSigns::SetReport(std::function<void(bool alive)> report) {
  const std::lock_guard<std::mutex> lock(mutex_);
  report_ = std::move(report);
}

void VitalSigns::BeginStep(Clock::time_point deadline) {
  const std::lock_guard<std::mutex> lock(mutex_);
  in_step_ = true;
  step_deadline_ = deadline;
}

void VitalSigns::EndStep() {
  const std::lock_guard<std::mutex> lock(mutex_);
  in_step_ = false;
  last_end_ = Clock::now();
}

bool VitalSigns::Alive() const {
  if (state_ == RankState::kLoading) return true;  // --startup-timeout bounds it
  const auto now = Clock::now();
  return in_step_ ? now < step_deadline_ : now - last_end_ < patience_;
}

void VitalSigns::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const bool alive = Alive();
    if (report_) report_(alive);
    const RankState shown = state_;
    if (alive && !path_.empty()) {
      lock.unlock();  // a disk that hangs must not hold up a step
      WriteFile(shown);
      lock.lock();
    }
    changed_.wait_for(lock, interval_, [&] { return stop_ || state_ != shown; });
  }
}

// A disk that is full or gone shows as a file that grows old, which is what it is there for.
void VitalSigns::WriteFile(RankState state) const {
  const std::string next = absl::StrCat(path_, ".next");
  {
    std::ofstream file(next, std::ios::trunc);
    file << StateName(state) << "\n";
    if (!file) return;
  }
  std::rename(next.c_str(), path_.c_str());
}

}  // namespace tamis
