// SPDX-License-Identifier: Apache-2.0
// What supervisors outside the group look at: is this rank's engine making progress? Told by the
// engine's hooks, shown through a file and a callback. The group's own watchdog (parallel/
// heartbeat.h) ends a stuck rank before a supervisor would; this is the second line.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace tamis {

enum class RankState : uint8_t { kLoading, kServing, kDraining };

// The state and the engine's progress may be told by any thread.
class VitalSigns {
 public:
  // Once in `interval`: renews `path` (empty = no file) if the rank is alive and calls `report`
  // (may be empty) with whether it is. While serving, alive means that the last step, idle ones
  // included, ended less than `patience` ago, or that the current one has not passed its deadline.
  // The file holds "loading", "serving" or "draining" and is replaced by renaming; it goes with
  // the object.
  VitalSigns(std::string path, std::chrono::milliseconds patience,
             std::chrono::milliseconds interval = std::chrono::seconds(1));
  ~VitalSigns();
  VitalSigns(const VitalSigns&) = delete;
  VitalSigns& operator=(const VitalSigns&) = delete;

  void SetState(RankState state);
  // Called from the thread that reports; nullptr ends it, and waits for a call that runs.
  void SetReport(std::function<void(bool alive)> report);
  void BeginStep(std::chrono::steady_clock::time_point deadline);
  void EndStep();

 private:
  using Clock = std::chrono::steady_clock;
  bool Alive() const;  // REQUIRES: mutex_ held
  void Run();
  void WriteFile(RankState state) const;

  const std::string path_;
  const std::chrono::milliseconds patience_;
  const std::chrono::milliseconds interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  bool stop_ = false;
  RankState state_ = RankState::kLoading;
  bool in_step_ = false;
  Clock::time_point last_end_ = Clock::now();
  Clock::time_point step_deadline_;
  std::function<void(bool alive)> report_;
  std::thread thread_;
};

}  // namespace tamis
