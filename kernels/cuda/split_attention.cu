// SPDX-License-Identifier: Apache-2.0
// The partials of split_attention.cuh on tensor cores. Blocks stay for the whole launch and take
// chunks in turn; each of a block's warps streams its own tiles of 16 tokens through a private
// ring in shared memory, so that copies never wait for another warp, nor for the next chunk.
// Bytes: context x Nkv x 2 x D elements of keys and values.
#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/scalar_split_attention.cuh"
#include "kernels/cuda/split_accumulator.cuh"
#include "kernels/cuda/split_attention.cuh"
#include "kernels/cuda/split_loader.cuh"
#include "kernels/order_key.h"

namespace tamis::cuda {
namespace {

// Eight warps, one block per multiprocessor, where the merge space of eight leaves room for the
// rings: that halves the time of a chunk. Else four warps, and two blocks; also for keys alone,
// where two blocks keep more copies under way while one of them merges.
constexpr int kManyWarps = 8;
constexpr int kFewWarps = 4;
constexpr int kManyWarpsHeadsMax = 4;

// Merges the warps' parts, in their order, into the chunk's partial.
template <int D, int kWarps>
__device__ void WritePartial(const SplitParams& p, const Work& work, const float* merge) {
  const int heads = work.heads;
  const int part = heads * (D + 2);
  for (int entry = threadIdx.x; entry < heads * D; entry += kWarps * kWarpThreads) {
    const int head = entry / D;
    float max = -INFINITY;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) max = fmaxf(max, merge[w * part + heads * D + 2 * head]);
    float sum = 0, weight = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float* from = merge + w * part;
      const float factor = Exp2(from[heads * D + 2 * head] - max);
      sum += factor * from[entry];
      weight += factor * from[heads * D + 2 * head + 1];
    }
    const int64_t slot =
        (int64_t{work.sequence} * p.q_heads() + work.first_head + head) * p.chunks_max + work.chunk;
    if (!p.keys_only) p.sums[slot * D + entry % D] = sum;
    if (entry % D == 0) p.stats[slot] = make_float2(max, weight);
  }
}

// Stores every head's logits of the tile, whole sectors at a time: after the last token of a row
// one more may be written, which nobody uses.
template <int kHalves>
__device__ void WriteLogits(const SplitParams& p, const float (&logits)[2][4], int64_t first_row,
                            int64_t position, int tokens, int heads) {
  const int g = threadIdx.x % kWarpThreads / 4;
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int pair = 0; pair < 2 * kHalves; ++pair) {
    const int j = pair % 2, h = pair / 2;
    const int token = 8 * j + 2 * t;
    if (g + 8 * h >= heads || token >= tokens) continue;
    float* to = p.scores + (first_row + g + 8 * h) * p.n_max + position + token;
    *reinterpret_cast<float2*>(to) =
        make_float2(logits[j][2 * h] * p.scale, logits[j][2 * h + 1] * p.scale);
  }
}

__device__ __forceinline__ void FindCandidates(Work& work, const SplitParams& p) {
  if (p.score_output != ScoreOutput::kMaxKey) return;
  work.score_begin = p.score_begin[work.sequence];
  work.score_end = p.score_end[work.sequence];
}

// Raises the tokens' keys to the maximum over the unit's heads: lane (g, t) with g < 4 that of one
// token.
template <int kHalves>
__device__ void RaiseKeys(const SplitParams& p, const float (&logits)[2][4], const Work& work,
                          int position) {
  const int heads = work.heads;
  const int g = threadIdx.x % kWarpThreads / 4;
  const int t = threadIdx.x % 4;
  float mine = 0;
#pragma unroll
  for (int entry = 0; entry < 4; ++entry) {
    const int j = entry / 2, i = entry % 2;
    float best = g < heads ? logits[j][i] * p.scale : NAN;  // a number beats NaN
    if constexpr (kHalves == 2) {
      if (g + 8 < heads) best = fmaxf(best, logits[j][2 + i] * p.scale);
    }
#pragma unroll
    for (int offset = 4; offset < kWarpThreads; offset *= 2) {
      best = fmaxf(best, __shfl_xor_sync(kFullMask, best, offset));
    }
    if (g == entry) mine = best;
  }
  const int candidate = position + 8 * (g / 2) + 2 * t + g % 2;
  if (g < 4 && candidate >= work.score_begin && candidate < work.score_end) {
    const int head = p.score_heads == 1 ? 0 : work.unit / p.units_per_kv_head();
    const int64_t row = int64_t{work.sequence} * p.score_heads + head;
    atomicMax(p.keys + row * p.n_max + candidate, OrderKey(mine));
  }
}

template <int kHalves>
__device__ __forceinline__ void StoreScores(const SplitParams& p, const float (&logits)[2][4],
                                            const Work& work, int first_token) {
  const int position = work.first + first_token;
  if (p.score_output == ScoreOutput::kPerHead) {
    const int64_t row = int64_t{work.sequence} * p.q_heads() + work.first_head;
    WriteLogits<kHalves>(p, logits, row, position, work.tokens - first_token, work.heads);
  } else if (p.score_output == ScoreOutput::kMaxKey) {
    RaiseKeys<kHalves>(p, logits, work, position);
  }
}

// Until the oldest tile under way has arrived; `full`: as many are under way as there can be.
__device__ __forceinline__ void AwaitTile(bool full, bool keys_only) {
  if (!full) {
    AwaitCopies<0>();
  } else if (keys_only) {
    AwaitCopies<2 * kStages - 2>();
  } else {
    AwaitCopies<kStages - 2>();
  }
}

template <typename T, int D, int kHalves, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarpThreads, kManyWarps / kWarps)
    SplitAttentionKernel(const __grid_constant__ SplitParams p) {
  extern __shared__ __align__(128) char shared[];
  using Layout = SharedLayout<D, kWarps>;
  const int warp = static_cast<int>(threadIdx.x / kWarpThreads);
  int* lengths = reinterpret_cast<int*>(shared);
  int* chunks_before = lengths + p.sequences;
  int* queue = chunks_before + p.sequences + 1;
  float* merge = reinterpret_cast<float*>(shared + Layout::MergeOffset(p.sequences));
  const uint32_t ring =
      SharedAddress(shared + Layout::RingOffset(p.sequences, min(p.group, kUnitHeadsMax))) +
      static_cast<uint32_t>(warp * Layout::kRingBytes);

  ReleaseSuccessor();
  if (!p.history_settled) AwaitPredecessor();
  if (threadIdx.x < kFixedItems) {
    queue[threadIdx.x] = static_cast<int>(blockIdx.x + threadIdx.x * gridDim.x);
  }
  CountChunks(p, lengths, chunks_before);
  TileLoader<T, D, kWarps> loader(p, lengths, chunks_before, queue, ring);
  Accumulator<T, D, kHalves> acc;
  Work work;
  const int stages = Stages(p.keys_only);
  int consumed = 0, stage = 0;
  if (p.history_settled) {
    loader.IssueSettled();
    AwaitPredecessor();
  }
  for (int index = 0;; ++index) {
    work.item = queue[index % kQueueSlots];
    if (!Locate<kWarps>(work, p, lengths, chunks_before, warp)) break;
    // The item after the next one is asked for now and put down when its number is there.
    int counted = 0;
    if (threadIdx.x == 0) counted = atomicAdd(p.next_item, 1);
    FindCandidates(work, p);
    acc.Reset(
        static_cast<const T*>(p.q) + work.sequence * p.q_stride + int64_t{work.first_head} * D,
        work.heads);
    loader.SetItem(index);
    for (int tile = 0; tile < work.tiles; ++tile) {
      while (loader.issued() - consumed < stages - 1 && loader.Issue()) {
      }
      AwaitTile(loader.issued() - consumed == stages - 1, p.keys_only);
      __syncwarp();  // this tile has arrived for every lane, and the stage before it is read out
      loader.Issue();
      ++consumed;
      const uint32_t keys = ring + static_cast<uint32_t>(stage * Layout::StageBytes(p.keys_only));
      const int first_token = (tile * kWarps + warp) * kSplitTileTokens;
      const int tokens = work.tokens - first_token;
      float logits[2][4];
      acc.Logits(logits, keys);
      StoreScores<kHalves>(p, logits, work, first_token);
      if (p.keys_only) {
        uint32_t unused[4];
        acc.Weigh(unused, logits, tokens, p.scale * kLog2E);
      } else {
        acc.Add(logits, keys + Layout::kTileBytes, tokens, p.scale * kLog2E);
      }
      stage = stage + 1 == stages ? 0 : stage + 1;
    }
    acc.Store(merge + warp * work.heads * (D + 2), work.heads);
    if (threadIdx.x == 0) {
      queue[(index + kFixedItems) % kQueueSlots] =
          static_cast<int>(gridDim.x) * kFixedItems + counted;
    }
    __syncthreads();
    WritePartial<D, kWarps>(p, work, merge);
    __syncthreads();  // the merge space may be written again
  }
}

template <typename T, int D, int kHalves, int kWarps>
void LaunchSplit(const SplitParams& p, const Stream& stream) {
  auto* kernel = SplitAttentionKernel<T, D, kHalves, kWarps>;
  constexpr int kThreads = kWarps * kWarpThreads;
  const auto bytes = static_cast<size_t>(
      SharedLayout<D, kWarps>::Bytes(p.sequences, std::min(p.group, kUnitHeadsMax)));
  AllowSharedBytes(kernel, bytes);
  int per_multiprocessor = 0;
  CheckCuda(
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, kThreads, bytes));
  CHECK_GT(per_multiprocessor, 0) << "decode attention: " << bytes << " bytes of shared memory";
  const int64_t items = int64_t{p.sequences} * p.units() * p.chunks_max;
  const int64_t resident =
      int64_t{per_multiprocessor} * DeviceAttribute(cudaDevAttrMultiProcessorCount);
  Grid grid(static_cast<unsigned>(std::min(items, resident)), kThreads, bytes);
  // With the common share fewer blocks would be resident. Small heads would do with it.
  grid.shared_memory_percent = 100;
  Launch(kernel, grid, stream, p);
}

template <typename T, int D>
void SplitByHeads(const SplitParams& p, const Stream& stream) {
  const size_t space =
      static_cast<size_t>(DeviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  const int heads = std::min(p.group, kUnitHeadsMax);
  if (heads <= kManyWarpsHeadsMax && !p.keys_only &&
      static_cast<size_t>(SharedLayout<D, kManyWarps>::Bytes(p.sequences, heads)) <= space) {
    LaunchSplit<T, D, 1, kManyWarps>(p, stream);
  } else if (heads <= 8) {
    LaunchSplit<T, D, 1, kFewWarps>(p, stream);
  } else {
    LaunchSplit<T, D, 2, kFewWarps>(p, stream);
  }
}

// 16-byte copies need every row to start at a multiple of 16 bytes.
bool FitsTensorCores(const SplitParams& p, DType dtype) {
  const bool strides = p.row_stride % 8 == 0 && p.head_stride % 8 == 0 &&
                       p.row_stride <= std::numeric_limits<int>::max();
  const bool bases = Aligned16(p.k_base) && Aligned16(p.v_base) && p.q_stride % 2 == 0 &&
                     reinterpret_cast<uintptr_t>(p.q) % 4 == 0;
  return dtype != DType::kF32 && strides && bases;
}

}  // namespace

void SplitAttention(SplitParams params, DType dtype, const Stream& stream) {
  // Tiles are aligned to their size, so none crosses a block.
  params.whole_tiles = params.count == nullptr && params.row_stride == params.head_dim &&
                       params.block_tokens % kSplitTileTokens == 0 &&
                       std::has_single_bit(static_cast<unsigned>(params.block_tokens));
  params.block_shift = std::countr_zero(static_cast<unsigned>(params.block_tokens));
  const auto by_head_dim = [&](auto tag) {
    using T = decltype(tag);
    switch (params.head_dim) {
      case 64: SplitByHeads<T, 64>(params, stream); return true;
      case 80: SplitByHeads<T, 80>(params, stream); return true;
      case 96: SplitByHeads<T, 96>(params, stream); return true;
      case 128: SplitByHeads<T, 128>(params, stream); return true;
      default: return false;
    }
  };
  const bool done = FitsTensorCores(params, dtype) &&
                    (dtype == DType::kBF16 ? by_head_dim(__nv_bfloat16{}) : by_head_dim(__half{}));
  if (!done) ScalarSplitAttention(params, dtype, stream);
  if (!params.keys_only) CombinePartials(params, dtype, stream);
}

}  // namespace tamis::cuda
