// SPDX-License-Identifier: Apache-2.0
// TopK, several blocks per row, in two launches. The first takes the maxima of small groups of
// scores. The k-th largest of those is a floor: k groups reach it, so at least k scores do, and the
// cutoff is not below it; with two groups for every place about 1.4 k scores do. The second
// launch finds the floor (every block for itself: that is cheaper than telling the others), lists
// what stands at or above it, piece by piece, and the block that ends last selects exactly among
// the listed entries. Where they do not fit (many equal scores) that block searches the whole row.
// Everything counted is an integer, so the result does not depend on who ends last.
// Bytes: 4 per candidate, read twice, the second time from a cache.
#include <algorithm>
#include <bit>

#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/range_select.cuh"
#include "kernels/cuda/top_k.h"

namespace tamis::cuda {
namespace {

constexpr int kThreads = kRangeThreads;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kGroupsPerPlace = 2;
constexpr int kListedPerPlace = 4;      // entries that a row may list for each
constexpr int kHeld = 8;                // scores of a piece that a thread keeps in registers
constexpr int kSharedEntries = 8192;    // entries that are sorted out in shared memory
constexpr int kFloorSlackDivisor = 16;  // the floor may let k / 16 groups too many pass

struct TopKParams {
  int32_t* positions;   // [S, Hs, k_max]
  float* top_scores;    // [S, Hs, k_max]
  int32_t* count;       // [S]
  const float* scores;  // [S, Hs, n_max]
  const int32_t* begin;
  const int32_t* end;
  const int32_t* k;
  uint32_t* maxima;   // [S * Hs, pieces, groups] order keys; 0 = no number
  uint64_t* listed;   // [S * Hs, pieces, list_max] packed entries, ascending positions
  uint64_t* joined;   // [S * Hs, join_max] the same without gaps, where shared memory is too small
  int32_t* list_len;  // [S * Hs, pieces] entries that belong to a list, also if they do not fit
  int32_t* done;      // [S * Hs] blocks that have listed theirs
  int selection_heads, k_max;
  int pieces, groups, list_max, join_max;
  int64_t n_max;
};

// One row of a launch: block (piece, row).
struct Row {
  int begin, end, k;  // k is clamped
  int first, last;    // this block's piece of [begin, end)
  int warp_tokens;    // each warp owns so many consecutive positions of the piece
  const float* scores;

  __device__ explicit Row(const TopKParams& p) {
    const int s = blockIdx.y / p.selection_heads;
    begin = p.begin[s];
    end = max(begin, p.end[s]);
    k = min(p.k[s], end - begin);
    const int per_piece = (end - begin + p.pieces - 1) / p.pieces;
    warp_tokens = (per_piece + kThreads - 1) / kThreads * kWarpThreads;
    first = min(begin + static_cast<int>(blockIdx.x) * warp_tokens * kWarps, end);
    last = min(first + warp_tokens * kWarps, end);
    scores = p.scores + int64_t{blockIdx.y} * p.n_max;
  }
};

// maxima[group] = the largest score at a piece's offsets group, group + groups, ...: neighbours in
// the text, which often score alike, are in different groups.
__global__ void __launch_bounds__(kThreads) MaximaKernel(const __grid_constant__ TopKParams p) {
  __shared__ uint32_t folded[kThreads];
  ReleaseSuccessor();
  AwaitPredecessor();
  const Row row(p);
  if (blockIdx.x == 0 && threadIdx.x == 0) p.done[blockIdx.y] = 0;
  if (row.k == 0) return;
  uint32_t* maxima = p.maxima + (int64_t{blockIdx.y} * p.pieces + blockIdx.x) * p.groups;
  const int stride = max(p.groups, kThreads);
  for (int group = threadIdx.x; group < stride; group += kThreads) {
    uint32_t largest = 0;
    for (int i = row.first + group; i < row.last; i += kHeld * stride) {
      float score[kHeld];
#pragma unroll
      for (int j = 0; j < kHeld; ++j) {
        score[j] = i + j * stride < row.last ? row.scores[i + j * stride] : NAN;
      }
#pragma unroll
      for (int j = 0; j < kHeld; ++j) largest = max(largest, OrderKey(score[j]));
    }
    if (p.groups >= kThreads) {
      maxima[group] = largest;
    } else {
      folded[group] = largest;
    }
  }
  if (p.groups >= kThreads) return;
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= p.groups) return;
  uint32_t largest = 0;
  for (int i = threadIdx.x; i < kThreads; i += p.groups) largest = max(largest, folded[i]);
  maxima[threadIdx.x] = largest;
}

// From a floor that at least k of the row's candidates reach to the largest; everything, if too few
// groups have a number.
__device__ EntryRange FindFloor(RangeSpace& space, const TopKParams& p, int k) {
  const int total = p.pieces * p.groups;
  const uint32_t* maxima = p.maxima + int64_t{blockIdx.y} * total;
  const auto entry = [&](int i) { return uint64_t{maxima[i]} << 32; };
  EntryRange range = RangeOfEntries(space, 0, total, entry);
  const auto target = static_cast<unsigned>(k);
  if (range.competing < target) {
    range.low = 1;
    return range;
  }
  range.low = SelectInRange(space, 0, total, entry, range, target, target / kFloorSlackDivisor, 32);
  return range;
}

// Adds one, and returns what was there before. Everything that the block wrote before its barrier
// is visible to whoever counts later.
__device__ __forceinline__ int CountArrival(int32_t* counter) {
  int before = 0;
  asm volatile("atom.add.acq_rel.gpu.global.s32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(counter)
               : "memory");
  return before;
}

// Lists this block's entries at or above the row's floor, in ascending order of position. Returns
// the range of all listed entries.
__device__ EntryRange ListPiece(RangeSpace& space, const TopKParams& p, const Row& row) {
  const int lane = threadIdx.x % kWarpThreads;
  const int first = row.first + static_cast<int>(threadIdx.x / kWarpThreads) * row.warp_tokens;
  const int last = min(first + row.warp_tokens, row.last);
  constexpr int kBatch = kHeld * kWarpThreads;
  uint32_t keys[kHeld];
  const auto load = [&](int base) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int i = base + j * kWarpThreads + lane;
      keys[j] = i < last ? OrderKey(row.scores[i]) : 0;
    }
  };
  load(first);  // on the way while the floor is found
  const EntryRange range = FindFloor(space, p, row.k);
  const auto floor = static_cast<uint32_t>(range.low >> 32);
  const auto passes = [&](int base, int j) {
    return base + j * kWarpThreads + lane < last && keys[j] >= floor;
  };
  int passed = 0;
  for (int base = first; base < last; base += kBatch) {
    if (base != first) load(base);
#pragma unroll
    for (int j = 0; j < kHeld; ++j) passed += __popc(__ballot_sync(kFullMask, passes(base, j)));
  }
  int total = 0;
  int to = BlockExclusiveSum(lane == 0 ? passed : 0, &total,
                             reinterpret_cast<int*>(space.warp_space));
  to = __shfl_sync(kFullMask, to, 0);
  const int64_t list = int64_t{blockIdx.y} * p.pieces + blockIdx.x;
  if (threadIdx.x == 0) p.list_len[list] = total;
  if (total > p.list_max) return range;
  uint64_t* listed = p.listed + list * p.list_max;
  for (int base = first; base < last; base += kBatch) {
    if (last - first > kBatch) load(base);
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const unsigned votes = __ballot_sync(kFullMask, passes(base, j));
      const int position = base + j * kWarpThreads + lane;
      if (passes(base, j)) {
        listed[to + __popc(votes & ((1u << lane) - 1))] =
            uint64_t{keys[j]} << 32 | static_cast<uint32_t>(~position);
      }
      to += __popc(votes);
    }
  }
  return range;
}

// Writes the k first of `count` entries, which ascend in position, to the row's result.
template <typename EntryOf>
__device__ void WriteFirst(RangeSpace& space, const TopKParams& p, int k, int count,
                           EntryRange range, EntryOf entry) {
  const uint64_t cutoff = SelectInRange(space, 0, count, entry, range, static_cast<unsigned>(k));
  int32_t* positions = p.positions + int64_t{blockIdx.y} * p.k_max;
  float* top_scores = p.top_scores + int64_t{blockIdx.y} * p.k_max;
  ForEachChosen(space, count, cutoff, entry, [&](int place, uint64_t packed) {
    positions[place] = PositionOf(packed);
    top_scores[place] = ScoreOfKey(static_cast<uint32_t>(packed >> 32));
  });
}

// The last block of a row: joins the lists and selects among their entries.
__device__ void Finish(RangeSpace& space, const TopKParams& p, const Row& row, EntryRange range,
                       uint64_t* shared) {
  __shared__ int begins[kTopKPiecesMax];
  __shared__ int misfits;
  const int64_t first_list = int64_t{blockIdx.y} * p.pieces;
  const int piece = static_cast<int>(threadIdx.x);
  const int length = piece < p.pieces ? __ldcg(p.list_len + first_list + piece) : 0;
  if (threadIdx.x == 0) misfits = 0;
  int total = 0;
  const int begin = BlockExclusiveSum(length, &total, reinterpret_cast<int*>(space.warp_space));
  if (piece < p.pieces) begins[piece] = begin;
  if (length > p.list_max || total > p.join_max) atomicAdd(&misfits, 1);
  __syncthreads();
  if (misfits > 0) {
    WriteFirst(space, p, row.k, row.end - row.begin, range, [&](int i) {
      return PackEntry(row.scores[row.begin + i], row.begin + i);
    });
    return;
  }
  uint64_t* joined =
      total <= kSharedEntries ? shared : p.joined + int64_t{blockIdx.y} * p.join_max;
  for (int list = threadIdx.x / kWarpThreads; list < p.pieces; list += kWarps) {
    const int from = begins[list];
    const int until = list + 1 < p.pieces ? begins[list + 1] : total;
    const uint64_t* listed = p.listed + (first_list + list) * p.list_max;
    for (int i = threadIdx.x % kWarpThreads; i < until - from; i += kWarpThreads) {
      joined[from + i] = __ldcg(listed + i);
    }
  }
  __syncthreads();
  WriteFirst(space, p, row.k, total, range, [&](int i) { return joined[i]; });
}

__global__ void __launch_bounds__(kThreads, 1) ListKernel(const __grid_constant__ TopKParams p) {
  extern __shared__ uint64_t shared[];  // [kSharedEntries]
  __shared__ RangeSpace space;
  __shared__ bool is_last;
  ReleaseSuccessor();
  AwaitPredecessor();
  const Row row(p);
  if (blockIdx.x == 0) {
    if (threadIdx.x == 0 && blockIdx.y % p.selection_heads == 0) {
      p.count[blockIdx.y / p.selection_heads] = row.k;
    }
    for (int i = row.k + static_cast<int>(threadIdx.x); i < p.k_max; i += kThreads) {
      p.positions[int64_t{blockIdx.y} * p.k_max + i] = -1;
      p.top_scores[int64_t{blockIdx.y} * p.k_max + i] = -INFINITY;
    }
  }
  if (row.k == 0) return;
  const EntryRange range = ListPiece(space, p, row);
  __syncthreads();
  // This block's list is there for whoever comes last.
  if (threadIdx.x == 0) is_last = CountArrival(p.done + blockIdx.y) == p.pieces - 1;
  __syncthreads();
  if (is_last) Finish(space, p, row, range, shared);
}

}  // namespace

TopKLayout TopKLayoutOf(int64_t rows, int64_t n_max, int64_t k_max) {
  constexpr int64_t kPieceTokensMin = 2048, kListMin = 8192, kGroupsMax = 65536;
  TopKLayout layout;
  const int64_t share = std::max<int64_t>(1, kTopKPiecesMax / std::max<int64_t>(1, rows));
  layout.pieces = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(
      std::clamp<int64_t>(CeilDiv(n_max, kPieceTokensMin), 1, share))));
  const int64_t wanted = std::min(kGroupsMax, kGroupsPerPlace * k_max);
  layout.groups = std::max<int64_t>(
      kWarpThreads, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(wanted))) /
                        layout.pieces);
  layout.join_max = std::min(n_max, std::max<int64_t>(kListMin, kListedPerPlace * k_max));
  layout.list_max = std::min(
      n_max, std::max<int64_t>(kListMin, kListedPerPlace * k_max / layout.pieces));
  return layout;
}

void TopK(TensorView positions, TensorView top_scores, TensorView count, ConstTensorView scores,
          const CandidateView& candidates, Scratch& scratch, const Stream& stream) {
  const ScratchScope scope(scratch);
  const int64_t rows = scores.shape[0] * scores.shape[1];
  TopKParams p = {};
  p.positions = positions.As<int32_t>();
  p.top_scores = top_scores.As<float>();
  p.count = count.As<int32_t>();
  p.scores = scores.As<float>();
  p.begin = candidates.begin.As<int32_t>();
  p.end = candidates.end.As<int32_t>();
  p.k = candidates.k.As<int32_t>();
  p.selection_heads = static_cast<int>(scores.shape[1]);
  p.k_max = static_cast<int>(positions.shape[2]);
  p.n_max = scores.shape[2];
  const TopKLayout layout = TopKLayoutOf(rows, p.n_max, p.k_max);
  p.pieces = static_cast<int>(layout.pieces);
  p.groups = static_cast<int>(layout.groups);
  p.list_max = static_cast<int>(layout.list_max);
  p.join_max = static_cast<int>(layout.join_max);
  const int64_t lists = rows * layout.pieces;
  const auto ints = [&](int64_t n) { return scratch.Take({n}, DType::kI32).As<int32_t>(); };
  const auto longs = [&](int64_t n) { return scratch.Take({n}, DType::kU64).As<uint64_t>(); };
  p.maxima = reinterpret_cast<uint32_t*>(ints(lists * layout.groups));
  p.listed = longs(lists * layout.list_max);
  p.joined = longs(rows * layout.join_max);
  p.list_len = ints(lists);
  p.done = ints(rows);
  const dim3 blocks(static_cast<unsigned>(layout.pieces), static_cast<unsigned>(rows));
  Launch(MaximaKernel, Grid(blocks, kThreads), stream, p);
  Launch(ListKernel, Grid(blocks, kThreads, kSharedEntries * sizeof(uint64_t)), stream, p);
}

}  // namespace tamis::cuda
