// SPDX-License-Identifier: Apache-2.0
// Finding the k-th of packed entries (radix_select.cuh) within a range that is known or found
// first: a block cuts the range into 2048 equal parts, counts, and goes on in the part where the
// k-th lies. Scores of one size lie close together, so that one or two rounds are enough where
// digits from the top would need three or four. Counts are integers: the result does not depend on
// the order of the atomics.
#pragma once

#include "kernels/cuda/radix_select.cuh"

namespace tamis::cuda {

constexpr int kRangeThreads = 1024;
constexpr int kRangeParts = 2048;

// Shared memory of a selection.
struct RangeSpace {
  uint32_t counts[kRangeParts];
  unsigned warp_space[32];
  unsigned low_key, high_key, competing;
  unsigned part, missing, in_part;
};

// Entries from low to high, both included.
struct EntryRange {
  uint64_t low = 1;
  uint64_t high = ~uint64_t{0};
  unsigned competing = 0;  // entries that are not 0, where counted
};

// The range of the scores of all entries that are not 0. Blocks of kRangeThreads.
template <typename EntryOf>
__device__ EntryRange RangeOfEntries(RangeSpace& space, int begin, int end, EntryOf entry) {
  uint32_t low = 0xFFFFFFFFu, high = 0;
  unsigned competing = 0;
  ForEachEntry(begin, end, entry, [&](uint64_t packed) {
    if (packed == 0) return;
    const auto key = static_cast<uint32_t>(packed >> 32);
    low = min(low, key);
    high = max(high, key);
    ++competing;
  });
  if (threadIdx.x == 0) {
    space.low_key = 0xFFFFFFFFu;
    space.high_key = 0;
    space.competing = 0;
  }
  low = __reduce_min_sync(kFullMask, low);
  high = __reduce_max_sync(kFullMask, high);
  competing = __reduce_add_sync(kFullMask, competing);
  __syncthreads();
  if (threadIdx.x % kWarpThreads == 0) {
    atomicMin(&space.low_key, low);
    atomicMax(&space.high_key, high);
    atomicAdd(&space.competing, competing);
  }
  __syncthreads();
  EntryRange range;
  range.low = max(uint64_t{1}, uint64_t{space.low_key} << 32);
  range.high = uint64_t{space.high_key} << 32 | 0xFFFFFFFFu;
  range.competing = space.competing;
  return range;
}

// Finds the part in which the `target`-th entry from above lies; one thread sees it.
__device__ inline void FindPart(RangeSpace& space, unsigned target) {
  const unsigned first = kRangeParts - 1 - 2 * threadIdx.x;
  const unsigned upper = space.counts[first], lower = space.counts[first - 1];
  unsigned total = 0;
  const unsigned before = BlockExclusiveSum(upper + lower, &total, space.warp_space);
  if (before < target && before + upper + lower >= target) {
    const bool in_upper = before + upper >= target;
    space.part = in_upper ? first : first - 1;
    space.missing = target - before - (in_upper ? 0 : upper);
    space.in_part = in_upper ? upper : lower;
  }
  __syncthreads();
}

// The greatest C in the range such that at least `target` entries of the range are at or above it,
// or a lower one if no more than `slack` entries too many are; 1 <= target <= entries in the range,
// and no entry is above it. Bits below `lowest_bit` are not looked at. Blocks of kRangeThreads;
// every thread gets C.
template <typename EntryOf>
__device__ uint64_t SelectInRange(RangeSpace& space, int begin, int end, EntryOf entry,
                                  EntryRange range, unsigned target, unsigned slack = 0,
                                  int lowest_bit = 0) {
  constexpr int kPartBits = 11;
  for (;;) {
    const int width = 64 - __clzll(static_cast<long long>(range.high - range.low));
    const int shift = max(lowest_bit, width - kPartBits);
    space.counts[2 * threadIdx.x] = 0;
    space.counts[2 * threadIdx.x + 1] = 0;
    __syncthreads();
    ForEachEntry(begin, end, entry, [&](uint64_t packed) {
      if (packed < range.low || packed > range.high) return;
      atomicAdd(&space.counts[(packed - range.low) >> shift], 1u);
    });
    __syncthreads();
    FindPart(space, target);
    target = space.missing;
    range.low += uint64_t{space.part} << shift;
    range.high = min(range.high, range.low + ((uint64_t{1} << shift) - 1));
    if (shift == lowest_bit || space.in_part - target <= slack) return range.low;
  }
}

// Runs write(place, packed) for the entries at or above the cutoff; place counts them in order.
// Blocks of kRangeThreads.
template <typename EntryOf, typename Write>
__device__ void ForEachChosen(RangeSpace& space, int count, uint64_t cutoff, EntryOf entry,
                              Write write) {
  const int lane = threadIdx.x % kWarpThreads;
  const int per_warp = (count + kRangeThreads - 1) / kRangeThreads * kWarpThreads;
  const int first = static_cast<int>(threadIdx.x / kWarpThreads) * per_warp;
  const int last = min(first + per_warp, count);
  unsigned chosen = 0;
  for (int base = first; base < last; base += kWarpThreads) {
    const bool mine = base + lane < last && entry(base + lane) >= cutoff;
    chosen += static_cast<unsigned>(__popc(__ballot_sync(kFullMask, mine)));
  }
  unsigned total = 0;
  // One count per warp: the scan over threads counts it once.
  unsigned to = BlockExclusiveSum(lane == 0 ? chosen : 0u, &total, space.warp_space);
  to = __shfl_sync(kFullMask, to, 0);
  for (int base = first; base < last; base += kWarpThreads) {
    const uint64_t packed = base + lane < last ? entry(base + lane) : 0;
    const bool mine = base + lane < last && packed >= cutoff;
    const unsigned votes = __ballot_sync(kFullMask, mine);
    if (mine) write(static_cast<int>(to) + __popc(votes & ((1u << lane) - 1)), packed);
    to += static_cast<unsigned>(__popc(votes));
  }
}

}  // namespace tamis::cuda
