// SPDX-License-Identifier: Apache-2.0
// Liveness: a small thread per process that ends the group when a rank is stopped or hangs. It
// never calls MPI: it beats a counter in memory shared by the ranks of this host and watches the
// others' counters. Ranks of other hosts are watched by their own host's ranks.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/control.h"
#include "parallel/world.h"

namespace tamis {

struct HeartbeatOptions {
  std::chrono::milliseconds interval{250};
  // A peer whose counter stands still for longer than this is taken for dead. This process's own
  // late loop never counts against a peer.
  std::chrono::milliseconds timeout{5000};
};

// Created (collectively) and destroyed on the main thread. A rank that destroys its Heartbeat has
// left in good order; nobody fires because of it. With one rank only the watchdog runs.
class Heartbeat {
 public:
  Heartbeat(const World& world, Control& control, HeartbeatOptions options = {});
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // Ranks of this host that are watched, this one not counted. Smaller than expected only where
  // processes of one host may not share memory.
  int peers() const;

  // For each of them its rank and how long ago it last showed life. Any thread.
  std::vector<std::pair<int, std::chrono::milliseconds>> PeerAges() const;

  // The watchdog: unless disarmed (or armed anew) before `deadline`, prints `description` and
  // dies. Any thread; one deadline at a time. Noticed within `interval`.
  void Arm(std::string description, std::chrono::steady_clock::time_point deadline);
  void Disarm();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tamis
