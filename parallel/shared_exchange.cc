// SPDX-License-Identifier: Apache-2.0
// Waiting: a moment of spinning, some yields, then a futex, so that a rank that waits for a slower
// or unscheduled one leaves it the core and is woken when it arrives.
#include "parallel/shared_exchange.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "kernels/check.h"
#include "parallel/bounded_wait.h"

namespace tamis {
namespace {

static_assert(std::atomic<uint32_t>::is_always_lock_free, "shared between processes");

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

void SleepWhile(std::atomic<uint32_t>* word, uint32_t value, std::chrono::milliseconds at_most) {
  timespec time = {};
  time.tv_sec = static_cast<time_t>(at_most.count() / 1000);
  time.tv_nsec = static_cast<long>(at_most.count() % 1000) * 1'000'000;
  // Returning early (a signal, a changed word) is fine: the caller looks again.
  syscall(SYS_futex, word, FUTEX_WAIT, value, &time, nullptr, 0);
}

void WakeAll(std::atomic<uint32_t>* word) {
  constexpr int kAll = 1 << 30;
  syscall(SYS_futex, word, FUTEX_WAKE, kAll, nullptr, nullptr, 0);
}

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

SharedExchange::SharedExchange(const World& world, Control& control, size_t slot_bytes)
    : control_(control),
      rank_(world.rank),
      size_(world.size),
      slot_bytes_(RoundUp(slot_bytes, 4096)),
      // With a core for everyone a late rank is on its way; without, it may need ours.
      yields_max_(UsableCores() >= world.local_size ? 1000 : 10) {
  const size_t places = RoundUp(sizeof(Place) * static_cast<size_t>(size_), 4096);
  memory_ = ShareOnHost(world, control, places + 2 * static_cast<size_t>(size_) * slot_bytes_);
  const bool one_host = world.local_size == world.size;
  if (!AllAgree(control, one_host && memory_.data() != nullptr)) {
    memory_ = SharedMemory();
    return;
  }
  slots_ = memory_.data() + places;
}

void SharedExchange::Meet(uint64_t tag, const char* call) {
  const uint32_t round = round_ + 1;
  Place& place = PlaceOf(rank_);
  place.tags[round % 2] = tag;
  // Sequentially consistent against AwaitRound: either we see the sleeper or it sees the round.
  place.round.store(round);
  if (place.sleepers.load() != 0) WakeAll(&place.round);
  round_ = round;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    AwaitRound(peer, call);
    CHECK_EQ(PlaceOf(peer).tags[round % 2], tag)
        << "rank " << peer << " is not in the same " << call << " as rank " << rank_;
  }
}

void SharedExchange::AwaitRound(int peer, const char* call) {
  constexpr int kSpins = 200;
  Place& place = PlaceOf(peer);
  // Rounds wrap; a peer is never more than one ahead.
  const auto arrived = [&] { return static_cast<int32_t>(place.round.load() - round_) >= 0; };
  for (int i = 0; i < kSpins; ++i) {
    if (arrived()) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  for (int i = 0; i < yields_max_; ++i) {
    if (arrived()) return;
    sched_yield();
  }
  WaitClock clock(WaitClock::Clock::now());
  place.sleepers.fetch_add(1);
  while (!arrived()) {
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(
        clock.Waited(WaitClock::Clock::now()));
    if (waited >= control_.timeout()) {
      DieOfWaiting(rank_, std::string(call) + " for rank " + std::to_string(peer),
                   control_.timeout());
    }
    const auto left = control_.timeout() - waited;
    SleepWhile(&place.round, round_ - 1, std::min(left, std::chrono::milliseconds(100)));
  }
  place.sleepers.fetch_sub(1);
}

}  // namespace tamis
