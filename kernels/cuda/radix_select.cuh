// SPDX-License-Identifier: Apache-2.0
// Finding the cutoff of a prefix of the order of order_key.h: entries are packed into unique
// integers, greater = earlier, and a block narrows the cutoff digit by digit with histograms of
// integers, so that the result does not depend on the order of the atomics.
#pragma once

#include <cstdint>

#include "kernels/cuda/reduce.cuh"
#include "kernels/order_key.h"

namespace tamis::cuda {

__device__ __forceinline__ uint64_t PackEntry(float score, int32_t position) {
  return uint64_t{OrderKey(score)} << 32 | static_cast<uint32_t>(~position);
}
__device__ __forceinline__ int32_t PositionOf(uint64_t packed) {
  return static_cast<int32_t>(~static_cast<uint32_t>(packed));
}
// The score that OrderKey made a key of, -0 as +0.
__device__ __forceinline__ float ScoreOfKey(uint32_t key) {
  if (key == 0) return NAN;
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7FFFFFFFu : ~key);
}

constexpr int kDigitBits = 11;
constexpr int kBuckets = 1 << kDigitBits;

// Shared memory of a selection.
struct SelectSpace {
  uint32_t counts[kBuckets];
  unsigned long long masses[kBuckets];
  uint64_t warp_space[32];
  unsigned long long missing;  // of the target, within the bucket found last
  int bucket;
};

// The scan over buckets from the highest down: the first nonempty one at which the running total
// reaches `missing`, and the total before it. `values` has one entry per bucket.
template <typename Value>
__device__ void FindBucket(SelectSpace& space, const Value* values, unsigned long long missing) {
  constexpr int kPerThread = 2;  // whole blocks of 1024 threads
  unsigned long long own[kPerThread], sum = 0, total = 0;
  for (int i = 0; i < kPerThread; ++i) {
    own[i] = values[kBuckets - 1 - (static_cast<int>(threadIdx.x) * kPerThread + i)];
    sum += own[i];
  }
  auto* scan_space = reinterpret_cast<unsigned long long*>(space.warp_space);
  unsigned long long before = BlockExclusiveSum(sum, &total, scan_space);
  for (int i = 0; i < kPerThread; ++i) {
    const int bucket = kBuckets - 1 - (static_cast<int>(threadIdx.x) * kPerThread + i);
    // At most one bucket crosses; `missing` 0 is met by the first nonempty bucket.
    const bool first = before < missing || (missing == 0 && before == 0);
    if (space.counts[bucket] > 0 && first && before + own[i] >= missing) {
      atomicMax(&space.bucket, bucket);
    }
    before += own[i];
  }
  __syncthreads();
  // The total before the found bucket, by the thread that owns it.
  const int owner = (kBuckets - 1 - space.bucket) / kPerThread;
  if (space.bucket >= 0 && static_cast<int>(threadIdx.x) == owner) {
    unsigned long long upto = before - sum;
    for (int i = 0; i < (kBuckets - 1 - space.bucket) % kPerThread; ++i) upto += own[i];
    space.missing = missing - (upto < missing ? upto : missing);
  }
  __syncthreads();
}

// Runs use(entry(i)) over [begin, end), a few entries of each thread at once, so that their loads
// are on the way together.
template <typename EntryOf, typename Use>
__device__ void ForEachEntry(int begin, int end, EntryOf entry, Use use) {
  constexpr int kAtOnce = 8;
  const int stride = static_cast<int>(blockDim.x);
  for (int first = begin + static_cast<int>(threadIdx.x); first < end; first += kAtOnce * stride) {
    uint64_t packed[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = first + j * stride;
      packed[j] = i < end ? entry(i) : 0;
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) use(packed[j]);
  }
}

// The greatest packed value C such that the entries at and above C number at least `target`
// (kByMass false), or weigh at least `target` together. entry(i) gives entry i of n, 0 for one
// that does not compete; mass(packed) its weight. Blocks of 1024 threads; 1 <= target <= all,
// or target 0 by mass: the greatest entry. Every thread gets C.
template <bool kByMass, typename EntryOf, typename MassOf>
__device__ uint64_t SelectCutoff(SelectSpace& space, int begin, int end, unsigned long long target,
                                 EntryOf entry, MassOf mass) {
  uint64_t prefix = 0;
  unsigned long long missing = target;
  for (int above = 64;;) {
    const int shift = above > kDigitBits ? above - kDigitBits : 0;
    for (int i = threadIdx.x; i < kBuckets; i += blockDim.x) {
      space.counts[i] = 0;
      if constexpr (kByMass) space.masses[i] = 0;
    }
    if (threadIdx.x == 0) space.bucket = -1;
    __syncthreads();
    const uint32_t digit_mask = (1u << (above - shift)) - 1;
    ForEachEntry(begin, end, entry, [&](uint64_t packed) {
      if (packed == 0 || (above < 64 && packed >> above != prefix >> above)) return;
      const uint32_t bucket = static_cast<uint32_t>(packed >> shift) & digit_mask;
      atomicAdd(&space.counts[bucket], 1u);
      if constexpr (kByMass) atomicAdd(&space.masses[bucket], mass(packed));
    });
    __syncthreads();
    if constexpr (kByMass) {
      FindBucket(space, space.masses, missing);
    } else {
      FindBucket(space, space.counts, missing);
    }
    const int bucket = space.bucket;
    if (bucket < 0) return 0;  // fewer than asked for: everything
    missing = space.missing;
    const uint32_t in_bucket = space.counts[bucket];
    prefix |= static_cast<uint64_t>(bucket) << shift;
    __syncthreads();  // the histogram may be cleared
    // One entry, or all of the bucket: the lower digits do not matter.
    const bool settled = in_bucket == 1 || (!kByMass && missing == in_bucket);
    if (shift == 0 || settled) return prefix;
    above = shift;
  }
}

}  // namespace tamis::cuda
