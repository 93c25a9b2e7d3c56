// SPDX-License-Identifier: Apache-2.0
// PrefillAttention on Hopper's warpgroup products. A block takes 128 query rows of one head, 64 to
// each of two warpgroups, and walks the context in tiles of 128 tokens, which the warps of a third
// warpgroup have the copy engine fetch page by page, two tiles ahead. While one warpgroup turns
// logits into weights the other's products run; and within a warpgroup, the logits of a tile are
// computed beside the values of the tile before. (The schedule of FlashAttention-3, Shah et al.
// 2024.)
//
// A row's result depends on its own context alone: tiles start at token 0, each row follows its own
// maximum, and a tile that a row does not see changes nothing. 4 x D FLOP per query head, row and
// token seen.
#include <bit>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/split_attention.cuh"
#include "kernels/cuda/wgmma_prefill.cuh"

namespace tamis::cuda {
namespace {

using namespace wgmma_prefill;  // NOLINT: the other half of this kernel

// A consumer: one warpgroup, 64 rows. A thread has two of them, rows `g` and g + 8 of its warp.
template <typename T, int D>
struct Consumer {
  // A row's running maximum may be too small by this much (weights up to 2^8) before its sums are
  // scaled down to a new one.
  static constexpr float kMaxSlack = 8.0f;

  float logits[kTileTokens / 2];
  uint32_t weights[kTileTokens / 4];  // rounded
  float sums[D / 2];
  float max[2];     // in units of log2
  float total[2];   // of the weights; this thread's part
  float factor[2];  // what the sums so far are to be multiplied with

  // The warpgroups issue their products in turns: named barrier 1 + warpgroup.
  __device__ static void AwaitOwnTurn(int self) {
    SyncNamed(1 + self, kConsumers * kWarpgroupThreads);
  }
  __device__ static void GiveTurn(int self) {
    ArriveNamed(1 + (1 - self), kConsumers * kWarpgroupThreads);
  }

  __device__ void Logits(uint64_t queries, uint64_t keys) {
    using Layout = SharedLayout<D>;
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      const uint32_t in_panel = step % 4 * 32;
      const uint64_t q = Advance(queries, step / 4 * Layout::kQueryPanelBytes + in_panel);
      const uint64_t k = Advance(keys, step / 4 * Layout::kTilePanelBytes + in_panel);
      ProductOfShared(logits, q, k, step != 0, T{});
    }
    CommitProducts();
  }

  __device__ void AddValues(uint64_t values) {
#pragma unroll
    for (int step = 0; step < kTileTokens / 16; ++step) {
      const uint32_t* a = weights + 4 * step;
      AddProductOfRegisters(sums, a[0], a[1], a[2], a[3],
                            Advance(values, step * 16 * kPanelRowBytes), T{});
    }
    CommitProducts();
  }

  // Hides the tokens from `seen` of each row on. `seen`: of this thread's first row, counted from
  // the tile's first token.
  __device__ void Mask(int seen) {
    const int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < kTileTokens / 2; ++i) {
      if (i / 4 * 8 + column + i % 2 >= seen + i % 4 / 2 * 8) logits[i] = -INFINITY;
    }
  }

  // Turns logits into weights relative to the rows' maxima. Every row sees token 0, so no maximum
  // is infinite after the first tile.
  template <bool kFirst>
  __device__ void Weigh(float to_log2) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top[4] = {logits[2 * h], logits[2 * h + 1], logits[2 * h + 4], logits[2 * h + 5]};
#pragma unroll
      for (int n = 2; n < kTileTokens / 8; ++n) {
        top[n % 2 * 2] = fmaxf(top[n % 2 * 2], logits[4 * n + 2 * h]);
        top[n % 2 * 2 + 1] = fmaxf(top[n % 2 * 2 + 1], logits[4 * n + 2 * h + 1]);
      }
      float tile_max = fmaxf(fmaxf(top[0], top[1]), fmaxf(top[2], top[3]));
      tile_max = fmaxf(tile_max, __shfl_xor_sync(kFullMask, tile_max, 1));
      tile_max = fmaxf(tile_max, __shfl_xor_sync(kFullMask, tile_max, 2)) * to_log2;
      if (kFirst) {
        max[h] = tile_max;
        total[h] = 0;
      } else {
        const float new_max = tile_max > max[h] + kMaxSlack ? tile_max : max[h];
        factor[h] = Exp2(max[h] - new_max);
        max[h] = new_max;
        total[h] *= factor[h];
      }
    }
    float parts[2][2] = {};
#pragma unroll
    for (int i = 0; i < kTileTokens / 2; ++i) {
      const int h = i % 4 / 2;
      logits[i] = Exp2(fmaf(logits[i], to_log2, -max[h]));
      parts[h][i % 2] += logits[i];
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) total[h] += parts[h][0] + parts[h][1];
  }

  __device__ void RoundWeights() {
#pragma unroll
    for (int i = 0; i < kTileTokens / 4; ++i) {
      weights[i] = Pack(logits[2 * i], logits[2 * i + 1], T{});
    }
  }

  // After the first tiles the maxima hardly move. Not rescaling and rescaling by 1 are the same.
  __device__ void Rescale() {
    if (!__any_sync(kFullMask, factor[0] != 1.0f || factor[1] != 1.0f)) return;
#pragma unroll
    for (int i = 0; i < D / 2; ++i) sums[i] *= factor[i % 4 / 2];
  }

  // Quads of threads hold 8 columns at a time in pieces of 4 bytes; a 4 x 4 exchange makes that 16
  // bytes a thread.
  __device__ void Store(const PrefillParams& p, const Place& place, int thread_row) {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float all = total[h];
      all += __shfl_xor_sync(kFullMask, all, 1);
      all += __shfl_xor_sync(kFullMask, all, 2);
      const float inverse = 1.0f / all;
      const int row = thread_row + 8 * h;
      T* out =
          static_cast<T*>(p.out) + (int64_t{place.first_row + row} * p.q_heads + place.head) * D;
#pragma unroll
      for (int n = 0; n < D / 8; n += 4) {
        uint32_t piece[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* pair = sums + 4 * (n + i) + 2 * h;
          piece[i] = Pack(pair[0] * inverse, pair[1] * inverse, T{});
        }
#pragma unroll
        for (int bit = 1; bit <= 2; bit *= 2) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (i & bit) continue;
            const bool upper = t & bit;
            const uint32_t given = upper ? piece[i] : piece[i | bit];
            const uint32_t got = __shfl_xor_sync(kFullMask, given, bit);
            (upper ? piece[i] : piece[i | bit]) = got;
          }
        }
        if (row < place.rows) {
          *reinterpret_cast<uint4*>(out + 8 * (n + t)) =
              make_uint4(piece[0], piece[1], piece[2], piece[3]);
        }
      }
    }
  }
};

template <typename T, int D>
__device__ void Consume(const WgmmaParams& w, const Place& place, const SharedLayout<D>& shared,
                        int self) {
  const int in_group = threadIdx.x % kWarpgroupThreads;
  const int thread_row =
      self * kConsumerRows + in_group / kWarpThreads * 16 + in_group % kWarpThreads / 4;
  const bool leads_warp = threadIdx.x % kWarpThreads == 0;
  const uint64_t queries = TileDescriptor(shared.Queries() + self * kConsumerRows * kPanelRowBytes);
  const auto keys_at = [&](const Turn& turn) { return TileDescriptor(shared.Keys(turn.stage)); };
  const auto values_at = [&](const Turn& turn) {
    return TileDescriptor(shared.Values(turn.stage), SharedLayout<D>::kTilePanelBytes);
  };
  const int tiles = (place.end + kTileTokens - 1) / kTileTokens;
  const int seen = place.seen_first + thread_row;
  // Up to here all rows of the warpgroup see everything.
  const int seen_by_all = place.seen_first + self * kConsumerRows;
  const float to_log2 = w.p.scale * kLog2E;
  Consumer<T, D> c;
  Turn keys, values;
#pragma unroll
  for (int i = 0; i < D / 2; ++i) c.sums[i] = 0;
  if (self == 1) c.GiveTurn(self);

  AwaitPhase(shared.QueriesFull(), 0);
  AwaitPhase(shared.KeysFull(0), 0);
  BeginProducts();
  c.Logits(queries, keys_at(keys));
  AwaitProducts<0>();
  Pin(c.logits);
  if (leads_warp) Arrive(shared.KeysFree(0));
  keys.Next();
  if (kTileTokens > seen_by_all) c.Mask(seen);
  c.template Weigh<true>(to_log2);
  c.RoundWeights();

  for (int tile = 1; tile < tiles; ++tile) {
    AwaitPhase(shared.KeysFull(keys.stage), keys.parity);
    c.AwaitOwnTurn(self);
    BeginProducts();
    c.Logits(queries, keys_at(keys));
    AwaitPhase(shared.ValuesFull(values.stage), values.parity);
    BeginProducts();
    c.AddValues(values_at(values));
    c.GiveTurn(self);
    AwaitProducts<1>();
    Pin(c.logits);
    if (leads_warp) Arrive(shared.KeysFree(keys.stage));
    keys.Next();
    const int first = tile * kTileTokens;
    if (first + kTileTokens > seen_by_all) c.Mask(seen - first);
    c.template Weigh<false>(to_log2);
    FinishBefore(c.total[0] + c.total[1], shared.Keys(0));
    AwaitProducts<0>();
    Pin(c.sums);
    if (leads_warp) Arrive(shared.ValuesFree(values.stage));
    values.Next();
    c.Rescale();
    c.RoundWeights();
  }
  AwaitPhase(shared.ValuesFull(values.stage), values.parity);
  BeginProducts();
  c.AddValues(values_at(values));
  AwaitProducts<0>();
  Pin(c.sums);
  c.Store(w.p, place, thread_row);
}

// Block (query head of the group, row piece, KV head); pieces that see most come first, and all
// that run together read few KV heads.
template <typename T, int D>
__global__ void __launch_bounds__(kThreads, 1)
    WgmmaPrefillKernel(const __grid_constant__ WgmmaParams w) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char memory[];
  const SharedLayout<D> shared = {(SharedAddress(memory) + 1023) & ~1023u};
  if (threadIdx.x == 0) {
    PrefetchMap(&w.queries);
    PrefetchMap(&w.pieces);
    InitBarrier(shared.QueriesFull(), 1);
    for (int stage = 0; stage < kStages; ++stage) {
      InitBarrier(shared.KeysFull(stage), 2);  // one arrival per producer
      InitBarrier(shared.ValuesFull(stage), 2);
      InitBarrier(shared.KeysFree(stage), kConsumers * 4);  // one arrival per warp
      InitBarrier(shared.ValuesFree(stage), kConsumers * 4);
    }
    PublishBarriers();
  }
  ReleaseSuccessor();
  AwaitPredecessor();
  Place place;
  place.head = static_cast<int>(blockIdx.z * gridDim.x + blockIdx.x);
  place.kv_head = static_cast<int>(blockIdx.z);
  if (!FindRows(w.p, static_cast<int>(gridDim.y - 1 - blockIdx.y), place)) return;
  __syncthreads();
  // The same for all lanes, and seen to be so by the compiler.
  const int warp = __shfl_sync(kFullMask, static_cast<int>(threadIdx.x / kWarpThreads), 0);
  if (warp < 4) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    Producer<D>{w, place, shared, warp >= 2, warp % 2}.Run();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    Consume<T, D>(w, place, shared, warp / 4 - 1);
  }
#endif
}

template <typename T, int D>
void LaunchWgmma(const WgmmaParams& w, const Stream& stream) {
  const int64_t pieces = (w.p.query_rows + int64_t{w.p.sequences} * (kBlockRows - 1)) / kBlockRows;
  const dim3 blocks(static_cast<unsigned>(w.p.group), static_cast<unsigned>(pieces),
                    static_cast<unsigned>(w.p.q_heads / w.p.group));
  Launch(WgmmaPrefillKernel<T, D>, Grid(blocks, kThreads, SharedLayout<D>::kBytes + 1024), stream,
         w);
}

template <typename T>
void LaunchByHeadDim(const WgmmaParams& w, const Stream& stream) {
  if (w.p.head_dim == 64) return LaunchWgmma<T, 64>(w, stream);
  LaunchWgmma<T, 128>(w, stream);
}

}  // namespace

bool FitsWgmmaPrefill(const PrefillParams& params, DType dtype) {
#if defined(TAMIS_SM90A)
  return dtype != DType::kF32 && (params.head_dim == 64 || params.head_dim == 128) &&
         params.block_shift >= std::countr_zero(static_cast<unsigned>(kPieceTokensMin)) &&
         DeviceAttribute(cudaDevAttrComputeCapabilityMajor) == 9;
#else
  static_cast<void>(params);
  static_cast<void>(dtype);
  return false;
#endif
}

void WgmmaPrefillAttention(const PrefillParams& params, DType dtype, const Stream& stream) {
  WgmmaParams w;
  w.p = params;
  w.piece_tokens = std::min(params.block_tokens, kTileTokens);
  w.total_rows = static_cast<int>(params.page_rows);
  w.queries = BoxesOf(params.q, dtype, params.query_rows, int64_t{params.q_heads} * params.head_dim,
                      params.q_stride, kBlockRows);
  w.pieces = BoxesOf(params.k_base, dtype, params.page_rows, params.head_dim, params.head_dim,
                     w.piece_tokens);
  w.single_row =
      BoxesOf(params.k_base, dtype, params.page_rows, params.head_dim, params.head_dim, 1);
  if (dtype == DType::kF16) return LaunchByHeadDim<__half>(w, stream);
  LaunchByHeadDim<__nv_bfloat16>(w, stream);
}

}  // namespace tamis::cuda
