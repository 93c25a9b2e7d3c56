// SPDX-License-Identifier: Apache-2.0
// The exchange of selection lists and their merge, in one kernel, one block per row: every rank
// sends its list, one packet per entry; a block then merges all lists by position (each entry
// finds its place by bisection of the others' lists, so that equal positions come to stand side by
// side), keeps the best of equal positions, narrows the k-th best down by histograms over the bits
// in which entries differ, and writes what is above it in order.
#include "kernels/cuda/radix_select.cuh"
#include "kernels/cuda/reduce.cuh"
#include "parallel/ipc_kernels.h"
#include "parallel/ipc_packets.cuh"

namespace tamis::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kDigit = 11;
constexpr int kBins = 1 << kDigit;
constexpr int kFewMax = 256;  // entries that are ranked by comparing each with each

struct ExchangeParams {
  int32_t* positions;              // [rows, k_max]
  int32_t* count;                  // [S]
  const int32_t* local_positions;  // [rows, k_max]
  const float* local_scores;       // [rows, k_max]
  const int32_t* begin;            // [S]
  const int32_t* end;              // [S]
  const int32_t* k;                // [S]
  int rows, selection_heads, k_max, peers_begin, peers_end;
};

struct Space {
  uint32_t bins[kBins];
  uint64_t few[kFewMax];
  uint64_t any[kWarps], all[kWarps];  // bits set in any, in all entries of a warp
  uint32_t warp_sums[kWarps];
  uint64_t cutoff;
  uint32_t bin, before, num_few;
};

// The lists of one row as a block holds them: [ranks, k_max] in shared memory.
struct RowLists {
  const uint32_t* positions;  // the rest of a list is 0xFFFFFFFF, above all positions
  int ranks, k_max;

  // Entries of list w below `position`, or at it too.
  __device__ int CountBelow(int w, uint32_t position, bool at_too) const {
    const uint32_t* list = positions + w * k_max;
    int low = 0, high = k_max;
    while (low < high) {
      const int middle = (low + high) / 2;
      const uint32_t at = list[middle];
      const bool below = at < position || (at_too && at == position);
      low = below ? middle + 1 : low;
      high = below ? high : middle;
    }
    return low;
  }

  // The place of entry i of list w among all lists by (position, list).
  __device__ int PlaceOf(int w, int i, uint32_t position) const {
    int place = i;
    for (int other = 0; other < ranks; ++other) {
      if (other != w) place += CountBelow(other, position, other < w);
    }
    return place;
  }
};

// The bits in which the entries of `mine` that belong to the prefix differ: *any has those that are
// set in one, *all those set in every one. 0 entries do not count.
template <int kEach>
__device__ void BitsOf(Space& space, const uint64_t (&mine)[kEach], uint64_t prefix, int above,
                       uint64_t* any, uint64_t* all) {
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
__device__ __forceinline__ uint32_t SumBelow(Space& space, uint32_t value, uint32_t* total) {
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
__device__ void FindBin(Space& space, uint32_t missing) {
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
__device__ void RankFew(Space& space, const uint64_t (&mine)[kEach], uint64_t bin, int shift,
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
__device__ uint64_t CutoffOf(Space& space, const uint64_t (&mine)[kEach], uint32_t k) {
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
    space.bins[2 * threadIdx.x] = space.bins[2 * threadIdx.x + 1] = 0;
    __syncthreads();
  }
}

// Everything of one row but the sending. kEach x kThreads entries at most.
template <int kEach>
__device__ void MergeRow(const Round& round, const ExchangeParams& p, int row, Space& space,
                         uint64_t* merged, uint32_t* positions) {
  const int total = round.size() * p.k_max;
  const int s = row / p.selection_heads;
  const int k = min(p.k[s], max(0, p.end[s] - p.begin[s]));
  space.bins[2 * threadIdx.x] = space.bins[2 * threadIdx.x + 1] = 0;

  // 1. All lists into shared memory; this thread's entries stay at hand.
  uint64_t mine[kEach];
  Packet packets[kEach][1];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int at = e * kThreads + static_cast<int>(threadIdx.x);
    const int w = at / p.k_max;
    if (at >= total || w == round.rank()) continue;
    packets[e][0] =
        LoadPacket(round.Slot(round.rank(), w) + int64_t{row} * p.k_max + (at - w * p.k_max));
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    mine[e] = 0;
    const int at = e * kThreads + static_cast<int>(threadIdx.x);
    if (at >= total) continue;
    const int w = at / p.k_max;
    const int64_t from = int64_t{row} * p.k_max + (at - w * p.k_max);
    int32_t position = 0;
    float score = 0;
    if (w == round.rank()) {
      position = p.local_positions[from];
      score = p.local_scores[from];
    } else {
      round.Await(packets[e], round.Slot(round.rank(), w) + from, w);
      position = static_cast<int32_t>(packets[e][0].first);
      score = __uint_as_float(static_cast<uint32_t>(packets[e][0].second));
    }
    if (w < p.peers_begin || w >= p.peers_end) position = -1;
    positions[at] = static_cast<uint32_t>(position);
    if (position >= 0) mine[e] = PackEntry(score, position);
  }
  __syncthreads();

  // 2. Merged by position.
  const RowLists lists = {positions, round.size(), p.k_max};
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int at = e * kThreads + static_cast<int>(threadIdx.x);
    if (at >= total) continue;
    const int w = at / p.k_max;
    merged[lists.PlaceOf(w, at - w * p.k_max, positions[at])] = mine[e];
  }
  __syncthreads();

  // 3. The best of equal positions; a thread has neighbours now.
  const auto same = [](uint64_t a, uint64_t b) {
    return static_cast<uint32_t>(a) == static_cast<uint32_t>(b);
  };
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int at = static_cast<int>(threadIdx.x) * kEach + e;
    mine[e] = at < total ? merged[at] : 0;
    if (mine[e] == 0) continue;
    bool best = true;
    for (int i = at - 1; i >= 0 && same(merged[i], mine[e]); --i) best &= merged[i] < mine[e];
    for (int i = at + 1; i < total && same(merged[i], mine[e]); ++i) best &= merged[i] <= mine[e];
    if (!best) mine[e] = 0;
  }

  // 4. The first k, in order of position.
  const uint64_t cutoff = k > 0 ? CutoffOf(space, mine, static_cast<uint32_t>(k)) : ~uint64_t{0};
  uint32_t chosen = 0, all = 0;
#pragma unroll
  for (int e = 0; e < kEach; ++e) chosen += mine[e] != 0 && mine[e] >= cutoff ? 1 : 0;
  __syncthreads();  // warp_sums are free
  uint32_t place = SumBelow(space, chosen, &all);
  int32_t* out = p.positions + int64_t{row} * p.k_max;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    if (mine[e] != 0 && mine[e] >= cutoff) out[place++] = PositionOf(mine[e]);
  }
  for (int i = k + static_cast<int>(threadIdx.x); i < p.k_max; i += kThreads) out[i] = -1;
  if (threadIdx.x == 0 && row % p.selection_heads == 0) p.count[s] = k;
}

template <int kEach>
__global__ void __launch_bounds__(kThreads, 1)
    ExchangeTopKKernel(const __grid_constant__ ExchangeParams p,
                       const __grid_constant__ IpcView view) {
  extern __shared__ uint64_t merged[];  // [ranks * k_max], then the positions
  __shared__ Space space;
  ReleaseSuccessor();
  AwaitPredecessor();
  const Round round(view, IpcCall::kExchangeTopK);
  // All rows of this block leave before any is waited for.
  for (int row = blockIdx.x; row < p.rows; row += gridDim.x) {
    for (int i = threadIdx.x; i < p.k_max; i += kThreads) {
      const int64_t at = int64_t{row} * p.k_max + i;
      const auto position = static_cast<uint32_t>(p.local_positions[at]);
      const uint32_t score = __float_as_uint(p.local_scores[at]);
      for (int step = 1; step < round.size(); ++step) {
        const int to = (round.rank() + step) % round.size();
        StorePacket(round.Slot(to, round.rank()) + at, position, score, round.number());
      }
    }
  }
  auto* positions = reinterpret_cast<uint32_t*>(merged + round.size() * p.k_max);
  for (int row = blockIdx.x; row < p.rows; row += gridDim.x) {
    MergeRow<kEach>(round, p, row, space, merged, positions);
    __syncthreads();
  }
  round.End();
}

template <typename Run>
void DispatchEach(int64_t entries, Run&& run) {
  if (entries <= 4 * kThreads) return run(std::integral_constant<int, 4>{});
  if (entries <= 8 * kThreads) return run(std::integral_constant<int, 8>{});
  run(std::integral_constant<int, 16>{});
}

size_t SharedBytes(int64_t entries) {
  return static_cast<size_t>(entries) * (sizeof(uint64_t) + sizeof(uint32_t));
}

}  // namespace

int64_t IpcExchangeRowsMax(int64_t k_max, int ranks) {
  if (k_max * ranks > 16 * kThreads || k_max == 0) return 0;
  return static_cast<int64_t>(kIpcSlotBytes / sizeof(Packet)) / k_max;
}

void IpcExchangeTopK(const TopKExchange& lists, const CandidateView& candidates, Slice peers,
                     const IpcView& view, const Stream& stream) {
  ExchangeParams p = {};
  p.positions = lists.positions.As<int32_t>();
  p.count = lists.count.As<int32_t>();
  p.local_positions = lists.local_positions.As<int32_t>();
  p.local_scores = lists.local_scores.As<float>();
  p.begin = candidates.begin.As<int32_t>();
  p.end = candidates.end.As<int32_t>();
  p.k = candidates.k.As<int32_t>();
  p.selection_heads = static_cast<int>(lists.positions.shape[1]);
  p.rows = static_cast<int>(lists.positions.shape[0]) * p.selection_heads;
  p.k_max = static_cast<int>(lists.positions.shape[2]);
  p.peers_begin = static_cast<int>(peers.begin);
  p.peers_end = static_cast<int>(peers.begin + peers.count);
  const int64_t entries = int64_t{view.size} * p.k_max;
  DispatchEach(entries, [&](auto each) {
    Launch(ExchangeTopKKernel<decltype(each)::value>,
           Grid(static_cast<unsigned>(std::min(p.rows, IpcBlocksMax())), kThreads,
                SharedBytes(entries)),
           stream, p, view);
  });
}

void IpcLoadExchangeKernels() {
  // The default limit of 48 KiB counts static and dynamic shared memory together.
  const auto load = [](auto* kernel, int each) {
    CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(SharedBytes(int64_t{each} * kThreads))));
    LoadKernel(kernel);
  };
  load(ExchangeTopKKernel<4>, 4);
  load(ExchangeTopKKernel<8>, 8);
  load(ExchangeTopKKernel<16>, 16);
}

}  // namespace tamis::cuda
