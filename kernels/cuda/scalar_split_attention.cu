// SPDX-License-Identifier: Apache-2.0
// One warp per (chunk, query head, sequence). Lanes hold tokens while logits are formed and
// elements of the head while values are summed.
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/scalar_accumulator.cuh"
#include "kernels/cuda/scalar_split_attention.cuh"

namespace tamis::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;
// The heads of a unit belong to different warps, so their maximum is taken with atomics over the
// order of the bits; scores start at -infinity.
__device__ void AtomicMax(float* to, float value) {
  // Non-negative floats are ordered as signed integers, negative ones against unsigned order.
  if (__float_as_int(value) >= 0) {
    atomicMax(reinterpret_cast<int*>(to), __float_as_int(value));
  } else {
    atomicMin(reinterpret_cast<unsigned*>(to), __float_as_uint(value));
  }
}

__global__ void FillKernel(float* to, int64_t count, float value) {
  ReleaseSuccessor();
  AwaitPredecessor();
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    to[i] = value;
  }
}

template <typename T>
__global__ void ScalarSplitKernel(const __grid_constant__ SplitParams p) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int lane = threadIdx.x % kWarpThreads;
  const int chunk = blockIdx.x * kWarps + threadIdx.x / kWarpThreads;
  const int head = blockIdx.y;
  const int s = blockIdx.z;
  const int kv_head = head / p.group;
  const int D = p.head_dim;
  const int tokens = min(kChunkTokens, AttendedTokens(p, s) - chunk * kChunkTokens);
  if (tokens <= 0) return;
  const T* q = static_cast<const T*>(p.q) + s * p.q_stride + int64_t{head} * D;
  const T* keys = static_cast<const T*>(p.k_base) + kv_head * p.head_stride;
  const T* values = static_cast<const T*>(p.v_base) + kv_head * p.head_stride;
  ScalarAccumulator acc;
  for (int first = 0; first < tokens; first += kWarpThreads) {
    const int i = chunk * kChunkTokens + first + lane;
    const bool exists = first + lane < tokens;
    const int row = exists ? AttendedRow(p, s, kv_head, i) : 0;
    const float logit =
        acc.Add(q, keys, values, row * p.row_stride, min(kWarpThreads, tokens - first), D, p.scale);
    if (!exists || p.score_output == ScoreOutput::kNone) continue;
    if (p.score_output == ScoreOutput::kPerHead) {
      p.scores[(int64_t{s} * p.q_heads() + head) * p.n_max + i] = logit;
    } else {
      const int unit = kv_head * p.units_per_kv_head() + head % p.group / kUnitHeadsMax;
      AtomicMax(p.scores + (int64_t{s} * p.units() + unit) * p.n_max + i, logit);
    }
  }
  const int64_t slot = (int64_t{s} * p.q_heads() + head) * p.chunks_max + chunk;
  acc.ForEach(D, [&](int d, float sum) { p.sums[slot * D + d] = sum; });
  if (lane == 0) p.stats[slot] = make_float2(acc.max, acc.weight);
}

}  // namespace

void ScalarSplitAttention(const SplitParams& params, DType dtype, const Stream& stream) {
  CHECK_LE(params.head_dim, ScalarAccumulator::kHeadDimMax) << "head size";
  if (params.score_output == ScoreOutput::kUnitMax) {
    const int64_t count = int64_t{params.sequences} * params.units() * params.n_max;
    Launch(FillKernel, Grid(256, 256), stream, params.scores, count, -INFINITY);
  }
  const dim3 blocks(static_cast<unsigned>(CeilDiv(params.chunks_max, kWarps)),
                    static_cast<unsigned>(params.q_heads()),
                    static_cast<unsigned>(params.sequences));
  DispatchFloat(dtype, [&](auto tag) {
    Launch(ScalarSplitKernel<decltype(tag)>, Grid(blocks, kThreads), stream, params);
  });
}

}  // namespace tamis::cuda
