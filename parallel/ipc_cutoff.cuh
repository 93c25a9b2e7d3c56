// SPDX-License-Identifier: Apache-2.0
// The k-th greatest of unique integers that a block holds in registers, in as few passes as their
// bits allow: a histogram over the highest bits in which they differ, then a comparison of each
// with each within the bin that matters, or another histogram if it has too many.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/reduce.cuh"

namespace tamis::cuda {

constexpr int kCutoffThreads = 1024;
constexpr int kCutoffWarps = kCutoffThreads / kWarpThreads;
constexpr int kDigit = 11;
constexpr int kBins = 1 << kDigit;
constexpr int kFewMax = 256;  // entries that are ranked by comparing each with each

// Shared memory of a search. Filled with zeros: bins.
struct CutoffSpace {
  uint32_t bins[kBins];
  uint64_t few[kFewMax];
  uint64_t any[kCutoffWarps], all[kCutoffWarps];  // bits set in any, in all entries of a warp
  uint32_t warp_sums[kCutoffWarps];
  uint64_t cutoff;
  uint32_t bin, before, num_few;
};

// The bits in which the entries of `mine` that belong to the prefix differ: *any has those that are
// set in one, *all those set in every one. 0 entries do not count.
template <int kEach>
__device__ void BitsOf(CutoffSpace& space, const uint64_t (&mine)[kEach], uint64_t prefix,
                       int above, uint64_t* any, uint64_t* all) {
  uint64_t or_bits = 0, and_bits = ~uint64_t{0};
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    if (mine[e] == 0 || (above < 64 && mine[e] >> above != prefix >> above)) continue;
    or_bits |= mine[e];
    and_bits &= mine[e];
  }
  const auto reduce_or = [](uint64_t bits) {
    const uint32_t high = __reduce_or_sync(kFullMask, static_cast<uint32_t>(bits >> 32));
    return uint64_t{high} << 32 | __reduce_or_sync(kFullMask, static_cast<uint32_t>(bits));
  };
  or_bits = reduce_or(or_bits);
  and_bits = ~reduce_or(~and_bits);
  if (threadIdx.x % kWarpThreads == 0) {
    space.any[threadIdx.x / kWarpThreads] = or_bits;
    space.all[threadIdx.x / kWarpThreads] = and_bits;
  }
  __syncthreads();
  *any = reduce_or(space.any[threadIdx.x % kWarpThreads]);
  *all = ~reduce_or(~space.all[threadIdx.x % kWarpThreads]);
}

// The sum of `value` over the lower threads. *total: over all.
__device__ __forceinline__ uint32_t SumBelow(CutoffSpace& space, uint32_t value, uint32_t* total) {
  const int lane = threadIdx.x % kWarpThreads;
  uint32_t inclusive = value;
#pragma unroll
  for (int offset = 1; offset < kWarpThreads; offset *= 2) {
    const uint32_t below = __shfl_up_sync(kFullMask, inclusive, offset);
    if (lane >= offset) inclusive += below;
  }
  if (lane == kWarpThreads - 1) space.warp_sums[threadIdx.x / kWarpThreads] = inclusive;
  __syncthreads();
  const uint32_t of_warp = space.warp_sums[lane];
  const bool lower = lane < static_cast<int>(threadIdx.x / kWarpThreads);
  const uint32_t before = __reduce_add_sync(kFullMask, lower ? of_warp : 0);
  *total = __reduce_add_sync(kFullMask, of_warp);
  return before + inclusive - value;
}

// The bin in which the running sum from the top reaches `missing`, and the sum above it, into
// space.bin and space.before. bins are filled and there are at least `missing` entries.
__device__ void FindBin(CutoffSpace& space, uint32_t missing) {
  const int top = kBins - 1 - 2 * static_cast<int>(threadIdx.x);
  const uint32_t first = space.bins[top], second = space.bins[top - 1];
  uint32_t total = 0;
  const uint32_t before = SumBelow(space, first + second, &total);
  if (before < missing && before + first >= missing) {
    space.bin = static_cast<uint32_t>(top);
    space.before = before;
  } else if (before + first < missing && before + first + second >= missing) {
    space.bin = static_cast<uint32_t>(top - 1);
    space.before = before + first;
  }
  __syncthreads();
}

// With few entries in the bin: the missing-th greatest of them, into space.cutoff.
template <int kEach>
__device__ void RankFew(CutoffSpace& space, const uint64_t (&mine)[kEach], uint64_t bin, int shift,
                        uint32_t missing) {
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    if (mine[e] != 0 && mine[e] >> shift == bin) space.few[atomicAdd(&space.num_few, 1u)] = mine[e];
  }
  __syncthreads();
  const uint32_t num_few = space.num_few;
  if (threadIdx.x < num_few) {
    const uint64_t candidate = space.few[threadIdx.x];
    uint32_t greater = 0;
    for (uint32_t i = 0; i < num_few; ++i) greater += space.few[i] > candidate ? 1 : 0;
    if (greater + 1 == missing) space.cutoff = candidate;
  }
  __syncthreads();
}

// The k-th greatest of the block's unique entries, or something below it and above the next one;
// 0 if there are at most k. space.bins are zero. 1 <= k.
template <int kEach>
__device__ uint64_t CutoffOf(CutoffSpace& space, const uint64_t (&mine)[kEach], uint32_t k) {
  uint64_t prefix = 0;
  uint32_t missing = k;
  for (int above = 64;;) {
    uint64_t any = 0, all = 0;
    BitsOf(space, mine, prefix, above, &any, &all);
    if ((any & ~all) == 0) return above == 64 ? 0 : any;  // one entry, or none
    const int differ = 64 - __clzll(static_cast<int64_t>(any & ~all));
    const int shift = differ > kDigit ? differ - kDigit : 0;
    const uint32_t mask = (1u << (differ - shift)) - 1;
    const bool whole = above == 64;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      if (mine[e] == 0 || (!whole && mine[e] >> above != prefix >> above)) continue;
      atomicAdd(&space.bins[static_cast<uint32_t>(mine[e] >> shift) & mask], 1u);
    }
    if (threadIdx.x == 0) {
      space.num_few = 0;
      space.bin = kBins;
    }
    __syncthreads();
    FindBin(space, missing);
    if (space.bin == kBins) return 0;  // fewer than k
    const uint32_t in_bin = space.bins[space.bin];
    missing -= space.before;
    // Bits above `differ` are common to all that are left.
    prefix = (differ < 64 ? (all >> differ) << differ : 0) | uint64_t{space.bin} << shift;
    if (missing == in_bin || shift == 0) return prefix;
    if (in_bin <= kFewMax) {
      RankFew(space, mine, prefix >> shift, shift, missing);
      return space.cutoff;
    }
    above = shift;
    __syncthreads();
    space.bins[threadIdx.x] = space.bins[kCutoffThreads + threadIdx.x] = 0;
    __syncthreads();
  }
}

}  // namespace tamis::cuda
