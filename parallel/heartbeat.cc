// SPDX-License-Identifier: Apache-2.0
// What a stopped process sees when it goes on is indistinguishable from peers that have stopped;
// its own loop's lateness tells the two apart, so a late loop starts every grace period anew.
#include "parallel/heartbeat.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "kernels/check.h"
#include "parallel/shared_memory.h"

namespace tamis {
namespace {

using std::chrono::steady_clock;

enum class Presence : uint32_t { kAbsent, kHere, kLeft };

// One rank's counter, a cache line of its own. All zero at first: absent.
struct alignas(128) Pulse {
  std::atomic<uint32_t> beats;
  std::atomic<Presence> presence;
  std::atomic<int32_t> rank;  // of the world
};
static_assert(std::atomic<Presence>::is_always_lock_free, "shared between processes");

struct Peer {
  Pulse* pulse = nullptr;
  uint32_t beats = 0;
  steady_clock::time_point seen;  // when `beats` last moved
};

struct Deadline {
  std::string description;
  steady_clock::time_point time;
};

std::string Seconds(steady_clock::duration duration) {
  std::ostringstream text;
  text.precision(3);
  text << std::chrono::duration<double>(duration).count() << " s";
  return text.str();
}

}  // namespace

struct Heartbeat::State {
  // Beats, looks at the peers and at the deadline, until stopped.
  void Run();
  // How much later than planned this loop came round; peers and deadline are excused as much.
  void Excuse(steady_clock::time_point now, steady_clock::duration late);
  void CheckPeers(steady_clock::time_point now);
  void CheckDeadline(steady_clock::time_point now) const;

  HeartbeatOptions options;
  SharedMemory memory;
  Pulse* mine = nullptr;    // nullptr without shared memory
  std::vector<Peer> peers;  // its times are guarded by mutex once the thread runs

  std::mutex mutex;
  std::condition_variable stopped;
  bool stop = false;                 // guarded by mutex
  std::optional<Deadline> deadline;  // guarded by mutex
  std::thread thread;
};

void Heartbeat::State::Run() {
  constexpr auto kLateAfter = std::chrono::seconds(1);
  auto planned = steady_clock::now();
  std::unique_lock lock(mutex);
  for (Peer& peer : peers) peer.seen = planned;
  while (!stop) {
    if (mine != nullptr) mine->beats.fetch_add(1, std::memory_order_relaxed);
    const auto now = steady_clock::now();
    if (now - planned > kLateAfter) Excuse(now, now - planned);
    CheckPeers(now);
    CheckDeadline(now);
    planned = now + options.interval;
    stopped.wait_until(lock, planned, [&] { return stop; });
  }
}

void Heartbeat::State::Excuse(steady_clock::time_point now, steady_clock::duration late) {
  for (Peer& peer : peers) peer.seen = now;
  if (deadline.has_value()) deadline->time += late;
}

void Heartbeat::State::CheckPeers(steady_clock::time_point now) {
  for (Peer& peer : peers) {
    const uint32_t beats = peer.pulse->beats.load(std::memory_order_relaxed);
    const bool left = peer.pulse->presence.load() == Presence::kLeft;
    if (left || beats != peer.beats) {
      peer.beats = beats;
      peer.seen = now;
    } else if (now - peer.seen > options.timeout) {
      Die("rank " + std::to_string(peer.pulse->rank.load()) + " has not shown life for " +
          Seconds(now - peer.seen) + ": it is stopped, stuck or gone; ending the group");
    }
  }
}

void Heartbeat::State::CheckDeadline(steady_clock::time_point now) const {
  if (!deadline.has_value() || now <= deadline->time) return;
  Die("watchdog: this took too long: " + deadline->description);
}

Heartbeat::Heartbeat(const World& world, Control& control, HeartbeatOptions options)
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.options = options;
  const auto places = static_cast<size_t>(world.local_size);
  if (world.size > 1) state.memory = ShareOnHost(world, control, places * sizeof(Pulse));
  auto* pulses = reinterpret_cast<Pulse*>(state.memory.data());
  if (pulses != nullptr) {
    state.mine = &pulses[world.local_rank];
    state.mine->rank = world.rank;
    state.mine->presence = Presence::kHere;
  }
  Barrier(control);
  for (size_t i = 0; i < places && pulses != nullptr; ++i) {
    const bool here = pulses[i].presence.load() != Presence::kAbsent;
    if (here && &pulses[i] != state.mine) state.peers.push_back({&pulses[i], 0, {}});
  }
  // Signals are for the main thread: a new thread inherits the mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  state.thread = std::thread([&state] { state.Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Heartbeat::~Heartbeat() {
  if (state_->mine != nullptr) state_->mine->presence = Presence::kLeft;
  {
    const std::scoped_lock lock(state_->mutex);
    state_->stop = true;
  }
  state_->stopped.notify_all();
  state_->thread.join();
}

int Heartbeat::peers() const { return static_cast<int>(state_->peers.size()); }

std::vector<std::pair<int, std::chrono::milliseconds>> Heartbeat::PeerAges() const {
  const std::scoped_lock lock(state_->mutex);
  const auto now = steady_clock::now();
  std::vector<std::pair<int, std::chrono::milliseconds>> ages;
  for (const Peer& peer : state_->peers) {
    ages.emplace_back(peer.pulse->rank.load(),
                      std::chrono::duration_cast<std::chrono::milliseconds>(now - peer.seen));
  }
  return ages;
}

void Heartbeat::Arm(std::string description, steady_clock::time_point deadline) {
  const std::scoped_lock lock(state_->mutex);
  state_->deadline = Deadline{std::move(description), deadline};
}

void Heartbeat::Disarm() {
  const std::scoped_lock lock(state_->mutex);
  state_->deadline.reset();
}

}  // namespace tamis
