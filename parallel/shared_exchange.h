// SPDX-License-Identifier: Apache-2.0
// The one move that collectives in shared memory are made of: every rank fills its slot, all meet,
// every rank reads all slots. Slots are double-buffered: a slot read after round n is written
// again for round n + 2, and nobody starts that before all have left round n + 1's meeting, which
// they enter only after reading.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "parallel/control.h"
#include "parallel/shared_memory.h"
#include "parallel/world.h"

namespace tamis {

// Belongs to one thread. `control` bounds its waits and must outlive it.
class SharedExchange {
 public:
  // Collective. Not valid() (on every rank alike) unless all ranks share one region.
  SharedExchange(const World& world, Control& control, size_t slot_bytes);

  bool valid() const { return memory_.data() != nullptr; }
  size_t slot_bytes() const { return slot_bytes_; }

  // This rank's slot of the coming round.
  std::byte* mine() const { return Slot(round_ + 1, rank_); }

  // Meets the others. `tag` must be equal on all ranks (what is being done, to how much); dies
  // when it is not, and when the others do not come in time. `call` names the wait.
  void Meet(uint64_t tag, const char* call);

  // Rank r's slot of the round that Meet ended; valid until the next Meet.
  const std::byte* Of(int r) const { return Slot(round_, r); }

 private:
  // Each rank's part of the meeting place, a cache line of its own.
  struct alignas(128) Place {
    std::atomic<uint32_t> round;     // the last round this rank has filled its slot for
    std::atomic<uint32_t> sleepers;  // ranks asleep until `round` moves
    uint64_t tags[2];                // by parity of the round
  };

  Place& PlaceOf(int r) const { return reinterpret_cast<Place*>(memory_.data())[r]; }
  std::byte* Slot(uint32_t round, int r) const {
    const size_t index = (round % 2) * static_cast<size_t>(size_) + static_cast<size_t>(r);
    return slots_ + index * slot_bytes_;
  }
  void AwaitRound(int peer, const char* call);

  const Control& control_;
  int rank_;
  int size_;
  size_t slot_bytes_;
  int yields_max_;  // before sleeping
  SharedMemory memory_;
  std::byte* slots_ = nullptr;
  uint32_t round_ = 0;
};

}  // namespace tamis
