// SPDX-License-Identifier: Apache-2.0
// Combines a row's partials: chunk c goes to way c % kWays, each way adds its chunks in ascending
// order, the ways are added in ascending order: an order that depends on nothing but the row's own
// length and the rank's heads.
// Also where partials get their space.
#include <algorithm>

#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/row_stats.cuh"

namespace tamis::cuda {
namespace {

constexpr int kWays = 16;  // one warp each

// Block (slice, head, s) makes 32 x kPerLane elements of one head. A launch for rows of fewer than
// kWays chunks leaves out the ways that would stay empty. Every warp finds the maximum and the
// total weight for itself: that is cheaper than waiting for each other.
template <typename T, int kPerLane>
__global__ void __launch_bounds__(kWays* kWarpThreads)
    CombineKernel(const __grid_constant__ SplitParams p) {
  __shared__ float way_sums[kWays][kPerLane][kWarpThreads];
  ReleaseSuccessor();
  AwaitPredecessor();
  if (blockIdx.x + blockIdx.y + blockIdx.z + threadIdx.x == 0) *p.next_item = 0;
  const int lane = threadIdx.x % kWarpThreads;
  const int way = threadIdx.x / kWarpThreads;
  const int ways = blockDim.x / kWarpThreads;
  const int first_d = blockIdx.x * kWarpThreads * kPerLane;
  const int64_t row = int64_t{blockIdx.z} * p.q_heads() + blockIdx.y;
  const int chunks = p.rule.Chunks(AttendedTokens(p, blockIdx.z));
  const float2* stats = p.stats + row * p.chunks_max;
  const float2 total = RowStats(stats, chunks);
  float sums[kPerLane] = {};
  const float* from = p.sums + row * p.chunks_max * p.head_dim + first_d + lane;
#pragma unroll 4
  for (int c = way; c < chunks; c += kWays) {
    const float factor = exp2f(stats[c].x - total.x);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (first_d + i * kWarpThreads + lane < p.head_dim) {
        sums[i] += factor * from[int64_t{c} * p.head_dim + i * kWarpThreads];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) way_sums[way][i][lane] = sums[i];
  __syncthreads();
  if (p.lse != nullptr && threadIdx.x == 0 && first_d == 0) p.lse[row] = NaturalLse(total);
  // Warp i adds up the i-th elements of the lanes.
  for (int i = way; i < kPerLane; i += ways) {
    const int d = first_d + i * kWarpThreads + lane;
    if (d >= p.head_dim) continue;
    float sum = 0;
    for (int w = 0; w < ways; ++w) sum += way_sums[w][i][lane];
    static_cast<T*>(p.out)[row * p.head_dim + d] = FromFloat<T>(chunks > 0 ? sum / total.y : 0.0f);
  }
}

}  // namespace

SplitParams MakeSplitParams(const TensorView& out, const ConstTensorView& q, const KvRows& rows,
                            const DecodeBatch& batch, float scale, Scratch& scratch) {
  SplitParams p;
  p.out = out.data;
  p.q = q.data;
  p.q_stride = q.row_stride;
  p.k_base = rows.k_base;
  p.v_base = rows.v_base;
  p.row_stride = rows.row_stride;
  p.head_stride = rows.head_stride;
  p.block_tokens = static_cast<int>(rows.block_tokens);
  p.rows_per_block = static_cast<int>(rows.rows_per_block);
  p.block_table = batch.block_table.As<int32_t>();
  p.context_lens = batch.context_lens.As<int32_t>();
  p.blocks_max = static_cast<int>(batch.block_table.shape[1]);
  p.history_settled = batch.history_settled;
  p.sequences = static_cast<int>(q.shape[0]);
  p.kv_heads = static_cast<int>(rows.kv_heads_local);
  p.head_dim = static_cast<int>(rows.head_dim);
  p.group = static_cast<int>(q.shape[1] / (rows.kv_heads_local * rows.head_dim));
  p.rule = ChunkRule(p.units());
  p.chunks_max = p.rule.ChunksMax(batch.context_len_max);
  p.scale = scale;
  p.next_item = scratch.Counters().As<int32_t>();
  const int64_t slots = int64_t{p.sequences} * p.q_heads() * p.chunks_max;
  p.sums = scratch.Take({slots, p.head_dim}, DType::kF32).As<float>();
  p.stats = reinterpret_cast<float2*>(scratch.Take({slots, 2}, DType::kF32).As<float>());
  return p;
}

void CombinePartials(const SplitParams& params, DType dtype, const Stream& stream) {
  const auto threads = static_cast<unsigned>(std::min(kWays, params.chunks_max) * kWarpThreads);
  DispatchFloat(dtype, [&](auto tag) {
    using T = decltype(tag);
    const auto run = [&]<int kPerLane>() {
      const dim3 blocks(static_cast<unsigned>(CeilDiv(params.head_dim, kWarpThreads * kPerLane)),
                        static_cast<unsigned>(params.q_heads()),
                        static_cast<unsigned>(params.sequences));
      Launch(CombineKernel<T, kPerLane>, Grid(blocks, threads), stream, params);
    };
    // Few rows: more blocks, so that all multiprocessors read partials. The bits are the same.
    constexpr int kFewRows = 128;
    params.sequences* params.q_heads() <= kFewRows ? run.template operator()<1>()
                                                   : run.template operator()<4>();
  });
}

}  // namespace tamis::cuda
