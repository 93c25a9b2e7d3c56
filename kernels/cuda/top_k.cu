// SPDX-License-Identifier: Apache-2.0
// TopK: one block per row finds the cutoff entry, then writes what stands at or above it in
// ascending order of position: warps own consecutive pieces of the row.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/radix_select.cuh"

namespace tamis::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpThreads;

struct TopKParams {
  int32_t* positions;   // [S, Hs, k_max]
  float* top_scores;    // [S, Hs, k_max]
  int32_t* count;       // [S]
  const float* scores;  // [S, Hs, n_max]
  const int32_t* begin;
  const int32_t* end;
  const int32_t* k;
  int selection_heads, k_max;
  int64_t n_max;
};

// Runs visit(position, chosen) over this warp's piece of [begin, end), whole warps at a time.
template <typename Visit>
__device__ void VisitPiece(const float* row, int begin, int end, uint64_t cutoff, Visit visit) {
  const int warp = threadIdx.x / kWarpThreads;
  const int lane = threadIdx.x % kWarpThreads;
  const int piece =
      ((end - begin + kWarps - 1) / kWarps + kWarpThreads - 1) / kWarpThreads * kWarpThreads;
  const int first = begin + warp * piece;
  const int last = min(first + piece, end);
  for (int base = first; base < last; base += kWarpThreads) {
    const int j = base + lane;
    visit(j, j < last && PackEntry(row[j], j) >= cutoff);
  }
}

__global__ void __launch_bounds__(kThreads) TopKKernel(const __grid_constant__ TopKParams p) {
  __shared__ SelectSpace space;
  ReleaseSuccessor();
  AwaitPredecessor();
  const int s = blockIdx.x / p.selection_heads;
  const int begin = p.begin[s];
  const int end = max(begin, p.end[s]);
  const int k = min(p.k[s], end - begin);
  const float* row = p.scores + int64_t{blockIdx.x} * p.n_max;
  int32_t* positions = p.positions + int64_t{blockIdx.x} * p.k_max;
  float* top_scores = p.top_scores + int64_t{blockIdx.x} * p.k_max;
  if (threadIdx.x == 0 && blockIdx.x % p.selection_heads == 0) p.count[s] = k;
  for (int i = k + static_cast<int>(threadIdx.x); i < p.k_max; i += kThreads) {
    positions[i] = -1;
    top_scores[i] = -INFINITY;
  }
  if (k == 0) return;
  const uint64_t cutoff = SelectCutoff<false>(
      space, begin, end, static_cast<unsigned long long>(k),
      [&](int j) { return PackEntry(row[j], j); }, [](uint64_t) { return 0ull; });
  const int lane = threadIdx.x % kWarpThreads;
  int chosen_here = 0;
  VisitPiece(row, begin, end, cutoff,
             [&](int, bool chosen) { chosen_here += __popc(__ballot_sync(kFullMask, chosen)); });
  int total = 0;
  // One count per warp: the scan over threads counts it once.
  int to = BlockExclusiveSum(lane == 0 ? chosen_here : 0, &total,
                             reinterpret_cast<int*>(space.warp_space));
  to = __shfl_sync(kFullMask, to, 0);
  VisitPiece(row, begin, end, cutoff, [&](int j, bool chosen) {
    const unsigned votes = __ballot_sync(kFullMask, chosen);
    const int place = to + __popc(votes & ((1u << lane) - 1));
    if (chosen) {
      positions[place] = j;
      top_scores[place] = row[j] + 0.0f;  // -0 becomes +0
    }
    to += __popc(votes);
  });
}

}  // namespace

void TopK(TensorView positions, TensorView top_scores, TensorView count, ConstTensorView scores,
          const CandidateView& candidates, Scratch&, const Stream& stream) {
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
  const auto rows = static_cast<unsigned>(scores.shape[0] * scores.shape[1]);
  Launch(TopKKernel, Grid(rows, kThreads), stream, p);
}

}  // namespace tamis::cuda
