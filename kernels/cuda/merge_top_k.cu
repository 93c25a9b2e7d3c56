// SPDX-License-Identifier: Apache-2.0
// MergeTopK: one block per row. A bitmap of the listed positions gives every position its place in
// the union of the lists, in ascending order; there the best score of all ranks is kept, and the
// first k of the union are taken. The bitmap slides over the candidates in windows, so that its
// size does not depend on their number.
// Bytes: 8 per listed entry, read twice, the second time from a cache.
#include "kernels/cuda/merge_top_k.h"

#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/range_select.cuh"

namespace tamis::cuda {
namespace {

constexpr int kThreads = kRangeThreads;
constexpr int kWindowWords = 4096;
constexpr int kWindowTokens = 32 * kWindowWords;
constexpr int kWordsPerThread = kWindowWords / kThreads;
constexpr size_t kSharedUnionBytesMax = size_t{160} << 10;

struct MergeParams {
  int32_t* positions;             // [S, Hs, k_max]
  int32_t* count;                 // [S]
  const int32_t* list_positions;  // [W, S * Hs * k_max]
  const float* list_scores;       // [W, S * Hs * k_max]
  const int32_t* begin;
  const int32_t* end;
  const int32_t* k;
  uint32_t* unions;  // [S * Hs, 2, W * k_max]; null = shared memory
  int ranks, selection_heads, k_max;
  int64_t rank_stride;
};

// Positions of one window.
struct Window {
  uint32_t bits[kWindowWords];
  int32_t before[kWindowWords];  // bits before this word

  __device__ void Clear() {
    for (int i = threadIdx.x; i < kWindowWords; i += kThreads) bits[i] = 0;
  }
  __device__ void Set(int i) { atomicOr(&bits[i / 32], 1u << (i % 32)); }
  // Fills `before`; returns how many bits are set. The whole block.
  __device__ int Count(RangeSpace& space) {
    const int first = static_cast<int>(threadIdx.x) * kWordsPerThread;
    int own = 0, total = 0;
#pragma unroll
    for (int i = 0; i < kWordsPerThread; ++i) own += __popc(bits[first + i]);
    int sum = BlockExclusiveSum(own, &total, reinterpret_cast<int*>(space.warp_space));
#pragma unroll
    for (int i = 0; i < kWordsPerThread; ++i) {
      before[first + i] = sum;
      sum += __popc(bits[first + i]);
    }
    __syncthreads();
    return total;
  }
  // Bits before bit i.
  __device__ int Before(int i) const {
    return before[i / 32] + __popc(bits[i / 32] & ((1u << (i % 32)) - 1));
  }
};

// Runs use(position, at) for this thread's listed entries of the row, `at` counting from the first
// rank's list; a few at once, so that their loads are on the way together.
template <typename Use>
__device__ void ForEachListed(const MergeParams& p, int64_t first, Use use) {
  constexpr int kAtOnce = 4;
  const int total = p.ranks * p.k_max;
  for (int base = threadIdx.x; base < total; base += kAtOnce * kThreads) {
    int position[kAtOnce];
    int64_t at[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = base + j * kThreads;
      at[j] = first + i / p.k_max * p.rank_stride + i % p.k_max;
      position[j] = i < total ? p.list_positions[at[j]] : -1;
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      if (position[j] >= 0) use(position[j], at[j]);
    }
  }
}

// Fills the union of the row's lists, ascending; returns its length.
__device__ int Unite(RangeSpace& space, Window& window, const MergeParams& p, int64_t first,
                     int begin, int end, uint32_t* keys, uint32_t* positions) {
  for (int i = threadIdx.x; i < p.ranks * p.k_max; i += kThreads) keys[i] = 0;
  int length = 0;
  for (int from = begin; from < end; from += kWindowTokens) {
    const auto inside = [&](int position) {
      return position >= from && position - from < kWindowTokens;
    };
    window.Clear();
    __syncthreads();
    ForEachListed(p, first, [&](int position, int64_t) {
      if (inside(position)) window.Set(position - from);
    });
    __syncthreads();
    const int here = window.Count(space);
    ForEachListed(p, first, [&](int position, int64_t at) {
      if (!inside(position)) return;
      const int place = length + window.Before(position - from);
      positions[place] = static_cast<uint32_t>(position);
      atomicMax(&keys[place], OrderKey(p.list_scores[at]));
    });
    length += here;
    __syncthreads();
  }
  return length;
}

__global__ void __launch_bounds__(kThreads, 1)
    MergeTopKKernel(const __grid_constant__ MergeParams p) {
  extern __shared__ uint32_t shared[];  // the window, then the union if it fits
  __shared__ RangeSpace space;
  ReleaseSuccessor();
  AwaitPredecessor();
  const int s = blockIdx.x / p.selection_heads;
  const int begin = p.begin[s];
  const int end = max(begin, p.end[s]);
  const int k = min(p.k[s], end - begin);
  const int64_t first = int64_t{blockIdx.x} * p.k_max;
  int32_t* out = p.positions + first;
  if (threadIdx.x == 0 && blockIdx.x % p.selection_heads == 0) p.count[s] = k;
  for (int i = k + static_cast<int>(threadIdx.x); i < p.k_max; i += kThreads) out[i] = -1;
  if (k == 0) return;
  auto& window = *reinterpret_cast<Window*>(shared);
  const int listed_max = p.ranks * p.k_max;
  uint32_t* keys = p.unions == nullptr ? shared + sizeof(Window) / sizeof(uint32_t)
                                       : p.unions + int64_t{blockIdx.x} * 2 * listed_max;
  uint32_t* positions = keys + listed_max;
  const int length = Unite(space, window, p, first, begin, end, keys, positions);
  const auto entry = [&](int i) { return uint64_t{keys[i]} << 32 | ~positions[i]; };
  const EntryRange range = RangeOfEntries(space, 0, length, entry);
  const uint64_t cutoff = SelectInRange(space, 0, length, entry, range, static_cast<unsigned>(k));
  ForEachChosen(space, length, cutoff, entry,
                [&](int place, uint64_t packed) { out[place] = PositionOf(packed); });
}

}  // namespace

int64_t MergeTopKBytes(int64_t ranks, int64_t k_max) {
  return 2 * ranks * k_max * static_cast<int64_t>(sizeof(uint32_t));
}

void MergeTopK(TensorView positions, TensorView count, ConstTensorView list_positions,
               ConstTensorView list_scores, const CandidateView& candidates, Scratch& scratch,
               const Stream& stream) {
  const ScratchScope scope(scratch);
  const int64_t rows = positions.shape[0] * positions.shape[1];
  MergeParams p = {};
  p.positions = positions.As<int32_t>();
  p.count = count.As<int32_t>();
  p.list_positions = list_positions.As<int32_t>();
  p.list_scores = list_scores.As<float>();
  p.begin = candidates.begin.As<int32_t>();
  p.end = candidates.end.As<int32_t>();
  p.k = candidates.k.As<int32_t>();
  p.ranks = static_cast<int>(list_positions.shape[0]);
  p.selection_heads = static_cast<int>(positions.shape[1]);
  p.k_max = static_cast<int>(positions.shape[2]);
  p.rank_stride = list_positions.shape[1];
  auto union_bytes = static_cast<size_t>(MergeTopKBytes(p.ranks, p.k_max));
  if (union_bytes > kSharedUnionBytesMax) {
    const int64_t words = rows * 2 * p.ranks * p.k_max;
    p.unions = reinterpret_cast<uint32_t*>(scratch.Take({words}, DType::kI32).As<int32_t>());
    union_bytes = 0;
  }
  const Grid grid(static_cast<unsigned>(rows), kThreads, sizeof(Window) + union_bytes);
  Launch(MergeTopKKernel, grid, stream, p);
}

}  // namespace tamis::cuda
