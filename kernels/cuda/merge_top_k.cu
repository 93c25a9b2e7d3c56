// SPDX-License-Identifier: Apache-2.0
// MergeTopK: one block per row. An entry competes if it is the best of its position over all
// ranks; the lists ascend, so the others are found by bisection, and so is each chosen entry's
// place in the result: the chosen entries before it, summed over the lists.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/radix_select.cuh"

namespace tamis::cuda {
namespace {

constexpr int kThreads = 1024;

struct MergeParams {
  int32_t* positions;             // [S, Hs, k_max]
  int32_t* count;                 // [S]
  const int32_t* list_positions;  // [W, S * Hs * k_max]
  const float* list_scores;       // [W, S * Hs * k_max]
  const int32_t* begin;
  const int32_t* end;
  const int32_t* k;
  uint64_t* entries;       // [S * Hs, W * k_max] packed, 0 where not competing
  int32_t* chosen_before;  // [S * Hs, W, k_max + 1] chosen entries of the list before this one
  int ranks, selection_heads, k_max;
  int64_t rank_stride;
};

// Listed entries of a list of k_max before the first at or above `position`; -1 ends the list.
__device__ int LowerBound(const int32_t* list, int k_max, int position) {
  int low = 0, high = k_max;
  while (low < high) {
    const int middle = (low + high) / 2;
    const int at = list[middle];
    if (at >= 0 && at < position) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

struct Lists {
  const int32_t* positions;  // of rank 0
  const float* scores;
  int64_t rank_stride;
  int ranks, k_max;

  // Entry i of rank w, or 0 if another rank has its position with a better score (or, at equal
  // scores, is an earlier rank).
  __device__ uint64_t Competing(int w, int i) const {
    const int position = positions[w * rank_stride + i];
    if (position < 0) return 0;
    const uint64_t packed = PackEntry(scores[w * rank_stride + i], position);
    for (int other = 0; other < ranks; ++other) {
      if (other == w) continue;
      const int32_t* list = positions + other * rank_stride;
      const int at = LowerBound(list, k_max, position);
      if (at == k_max || list[at] != position) continue;
      const uint64_t rival = PackEntry(scores[other * rank_stride + at], position);
      if (rival > packed || (rival == packed && other < w)) return 0;
    }
    return packed;
  }
};

__global__ void __launch_bounds__(kThreads) MergeTopKKernel(const __grid_constant__ MergeParams p) {
  __shared__ SelectSpace space;
  ReleaseSuccessor();
  AwaitPredecessor();
  const int s = blockIdx.x / p.selection_heads;
  const int k = min(p.k[s], max(0, p.end[s] - p.begin[s]));
  const int64_t first = int64_t{blockIdx.x} * p.k_max;
  const Lists lists = {p.list_positions + first, p.list_scores + first, p.rank_stride, p.ranks,
                       p.k_max};
  const int total = p.ranks * p.k_max;
  uint64_t* entries = p.entries + int64_t{blockIdx.x} * total;
  int32_t* chosen_before = p.chosen_before + int64_t{blockIdx.x} * p.ranks * (p.k_max + 1);
  int32_t* out = p.positions + first;
  if (threadIdx.x == 0 && blockIdx.x % p.selection_heads == 0) p.count[s] = k;
  for (int i = k + static_cast<int>(threadIdx.x); i < p.k_max; i += kThreads) out[i] = -1;
  if (k == 0) return;
  for (int i = threadIdx.x; i < total; i += kThreads) {
    entries[i] = lists.Competing(i / p.k_max, i % p.k_max);
  }
  __syncthreads();
  const uint64_t cutoff = SelectCutoff<false>(
      space, 0, total, static_cast<unsigned long long>(k), [&](int i) { return entries[i]; },
      [](uint64_t) { return 0ull; });
  const auto chosen = [&](int w, int i) {
    const uint64_t packed = entries[w * p.k_max + i];
    return packed != 0 && packed >= cutoff;
  };
  for (int w = 0; w < p.ranks; ++w) {
    int before = 0;
    for (int base = 0; base <= p.k_max; base += kThreads) {
      const int i = base + static_cast<int>(threadIdx.x);
      int sum = 0;
      const int own = i < p.k_max && chosen(w, i) ? 1 : 0;
      const int place = BlockExclusiveSum(own, &sum, reinterpret_cast<int*>(space.warp_space));
      if (i <= p.k_max) chosen_before[w * (p.k_max + 1) + i] = before + place;
      before += sum;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < total; i += kThreads) {
    if (!chosen(i / p.k_max, i % p.k_max)) continue;
    const int position = PositionOf(entries[i]);
    int place = 0;
    for (int w = 0; w < p.ranks; ++w) {
      const int at = LowerBound(lists.positions + w * p.rank_stride, p.k_max, position);
      place += chosen_before[w * (p.k_max + 1) + at];
    }
    if (place < k) out[place] = position;
  }
}

}  // namespace

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
  p.entries = scratch.Take({rows, p.ranks * p.k_max}, DType::kU64).As<uint64_t>();
  p.chosen_before = scratch.Take({rows, p.ranks * (p.k_max + 1)}, DType::kI32).As<int32_t>();
  Launch(MergeTopKKernel, Grid(static_cast<unsigned>(rows), kThreads), stream, p);
}

}  // namespace tamis::cuda
