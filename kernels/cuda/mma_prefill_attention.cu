// SPDX-License-Identifier: Apache-2.0
// PrefillAttention on mma.sync, which sm_80 and up have: a block takes 128 query rows of one head
// and walks the context in tiles of 32 tokens; a warp keeps 32 rows, so that each fragment of keys
// and values serves two products. The next tile arrives while one is used. A row's result depends
// on its own context alone: tiles start at token 0, and a tile that a row does not see changes
// nothing. 4 x D FLOP per query head, row and token seen.
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kRowTiles = 2;  // of 16 query rows, per warp
constexpr int kBlockRows = kWarps * kRowTiles * 16;
constexpr int kTileTokens = 32;
constexpr int kTokenTiles = kTileTokens / 8;

// Where a block stands.
struct Place {
  int sequence, head, first_row;  // first_row: in q
  int rows;                       // that exist, at most kBlockRows
  int seen_first;                 // tokens that the first row attends to; each row sees one more
};

__device__ __forceinline__ int TokenRow(const PrefillParams& p, const Place& place, int token) {
  // Blocks of a power of two are the rule; a division per row would cost more than the products.
  const int before = p.block_shift >= 0 ? token >> p.block_shift : token / p.block_tokens;
  const int block = p.block_table[int64_t{place.sequence} * p.blocks_max + before];
  return block * p.rows_per_block + token - before * p.block_tokens;
}

template <typename T, int D>
__device__ void LoadQueries(uint32_t to, const PrefillParams& p, const Place& place) {
  const T* q = static_cast<const T*>(p.q) + place.first_row * p.q_stride + int64_t{place.head} * D;
  for (int entry = threadIdx.x; entry < kBlockRows * (D / 8); entry += kThreads) {
    const int row = entry / (D / 8);
    const int piece = entry % (D / 8);
    const bool exists = row < place.rows;
    CopyAsync16(to + TileLayout<D>::Offset(row, piece),
                q + (exists ? row : 0) * p.q_stride + piece * 8, exists);
  }
}

// Keys or values of tokens [first, first + 32), zeros from `end` on.
template <typename T, int D>
__device__ void LoadTile(uint32_t to, const void* base, const PrefillParams& p, const Place& place,
                         int first, int end) {
  const T* from = static_cast<const T*>(base) + place.head / p.group * p.head_stride;
  constexpr int kEntries = kTileTokens * (D / 8);
#pragma unroll
  for (int i = 0; i < (kEntries + kThreads - 1) / kThreads; ++i) {
    const int entry = i * kThreads + static_cast<int>(threadIdx.x);
    if (kEntries % kThreads != 0 && entry >= kEntries) break;
    const int token = entry / (D / 8);
    const int piece = entry % (D / 8);
    const bool exists = first + token < end;
    const int row = exists ? TokenRow(p, place, first + token) : 0;
    CopyAsync16(to + TileLayout<D>::Offset(token, piece), from + int64_t{row} * D + piece * 8,
                exists);
  }
}

template <typename T, int D>
struct Rows {
  float sums[kRowTiles][D / 8][4];
  float max[kRowTiles][2];     // of rows g and g + 8 of each tile, in units of log2
  float weight[kRowTiles][2];  // this lane's part

  __device__ void Reset() {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int i = 0; i < D / 8; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[m][i][j] = 0;
      }
      max[m][0] = max[m][1] = -INFINITY;
      weight[m][0] = weight[m][1] = 0;
    }
  }

  // logits[m][n]: query tile m, tokens 8n ..
  __device__ static void Logits(float (&logits)[kRowTiles][kTokenTiles][4], uint32_t queries,
                                uint32_t keys) {
    const int warp = threadIdx.x / kWarpThreads;
    const int matrix = threadIdx.x % kWarpThreads / 8;
    const int row = threadIdx.x % 8;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) logits[m][n][j] = 0;
      }
    }
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      uint32_t q[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        LoadMatrices(q[m], queries + TileLayout<D>::Offset(
                                         (warp * kRowTiles + m) * 16 + matrix % 2 * 8 + row,
                                         2 * step + matrix / 2));
      }
#pragma unroll
      for (int n = 0; n < kTokenTiles; n += 2) {
        uint32_t b[4];
        LoadMatrices(
            b, keys + TileLayout<D>::Offset(n * 8 + matrix / 2 * 8 + row, 2 * step + matrix % 2));
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          Mma(logits[m][n], q[m], b[0], b[1], T{});
          Mma(logits[m][n + 1], q[m], b[2], b[3], T{});
        }
      }
    }
  }

  // Hides the tokens from `seen` of each row on. `seen`: of the block's first row, counted from
  // the tile's first token.
  __device__ static void Mask(float (&logits)[kRowTiles][kTokenTiles][4], int seen) {
    const int warp = threadIdx.x / kWarpThreads;
    const int g = threadIdx.x % kWarpThreads / 4;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int row = (warp * kRowTiles + m) * 16 + g + j / 2 * 8;
          if (8 * n + 2 * t + j % 2 >= seen + row) logits[m][n][j] = -INFINITY;
        }
      }
    }
  }

  // Turns logits into weights relative to the rows' maxima.
  __device__ void Weigh(float (&logits)[kRowTiles][kTokenTiles][4], float to_log2) {
    float new_max[kRowTiles][2];
    bool changed = false;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float tile_max = -INFINITY;
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) {
          tile_max = fmaxf(tile_max, fmaxf(logits[m][n][2 * h], logits[m][n][2 * h + 1]));
        }
        tile_max = fmaxf(tile_max, __shfl_xor_sync(kFullMask, tile_max, 1));
        tile_max = fmaxf(tile_max, __shfl_xor_sync(kFullMask, tile_max, 2));
        new_max[m][h] = fmaxf(max[m][h], tile_max * to_log2);
        changed |= new_max[m][h] != max[m][h];
      }
    }
    // After the first tiles the maxima hardly move. Not rescaling and rescaling by 1 are the same.
    if (__any_sync(kFullMask, changed)) Rescale(new_max);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // A row that has seen nothing yet keeps everything at zero.
        const float base = max[m][h] == -INFINITY ? 0.0f : max[m][h];
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
          for (int j = 2 * h; j < 2 * h + 2; ++j) {
            logits[m][n][j] = Exp2(fmaf(logits[m][n][j], to_log2, -base));
            weight[m][h] += logits[m][n][j];
          }
        }
      }
    }
  }

  __device__ void Rescale(const float (&new_max)[kRowTiles][2]) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float factor = new_max[m][h] == -INFINITY ? 1.0f : Exp2(max[m][h] - new_max[m][h]);
        max[m][h] = new_max[m][h];
        weight[m][h] *= factor;
#pragma unroll
        for (int i = 0; i < D / 8; ++i) {
          sums[m][i][2 * h] *= factor;
          sums[m][i][2 * h + 1] *= factor;
        }
      }
    }
  }

  __device__ void AddValues(const float (&weights)[kRowTiles][kTokenTiles][4], uint32_t values) {
    const int matrix = threadIdx.x % kWarpThreads / 8;
    const int row = threadIdx.x % 8;
#pragma unroll
    for (int step = 0; step < kTileTokens / 16; ++step) {
      uint32_t p[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* pair = &weights[m][2 * step + i / 2][i % 2 * 2];
          p[m][i] = Pack(pair[0], pair[1], T{});
        }
      }
#pragma unroll
      for (int i = 0; i < D / 16; ++i) {
        uint32_t b[4];
        LoadMatricesTransposed(b, values + TileLayout<D>::Offset(step * 16 + matrix % 2 * 8 + row,
                                                                 2 * i + matrix / 2));
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          Mma(sums[m][2 * i], p[m], b[0], b[1], T{});
          Mma(sums[m][2 * i + 1], p[m], b[2], b[3], T{});
        }
      }
    }
  }

  __device__ void Store(const PrefillParams& p, const Place& place) {
    const int warp = threadIdx.x / kWarpThreads;
    const int g = threadIdx.x % kWarpThreads / 4;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float total = weight[m][h];
        total += __shfl_xor_sync(kFullMask, total, 1);
        total += __shfl_xor_sync(kFullMask, total, 2);
        const int row = (warp * kRowTiles + m) * 16 + g + 8 * h;
        if (row >= place.rows) continue;
        T* out = static_cast<T*>(p.out) +
                 (int64_t{place.first_row + row} * p.q_heads + place.head) * D + 2 * t;
#pragma unroll
        for (int i = 0; i < D / 8; ++i) {
          *reinterpret_cast<uint32_t*>(out + 8 * i) =
              Pack(sums[m][i][2 * h] / total, sums[m][i][2 * h + 1] / total, T{});
        }
      }
    }
  }
};

// Block (head, row piece, s); the last pieces, which see most, come first.
template <typename T, int D>
__global__ void __launch_bounds__(kThreads) PrefillKernel(const __grid_constant__ PrefillParams p) {
  extern __shared__ __align__(128) char shared[];
  ReleaseSuccessor();
  AwaitPredecessor();
  Place place;
  place.sequence = blockIdx.z;
  place.head = blockIdx.x;
  const int begin = p.query_starts[place.sequence];
  const int queries = p.query_starts[place.sequence + 1] - begin;
  const int piece = static_cast<int>(gridDim.y - 1 - blockIdx.y) * kBlockRows;
  if (piece >= queries) return;
  place.first_row = begin + piece;
  place.rows = min(kBlockRows, queries - piece);
  place.seen_first = p.context_lens[place.sequence] - (queries - 1 - piece);
  const int end = place.seen_first + place.rows - 1;

  constexpr uint32_t kTileBytes = kTileTokens * TileLayout<D>::kRowBytes;
  const uint32_t query_tile = SharedAddress(shared);
  // Two stages, each of keys, then values.
  const uint32_t stages = query_tile + kBlockRows * TileLayout<D>::kRowBytes;
  LoadQueries<T, D>(query_tile, p, place);
  LoadTile<T, D>(stages, p.k_base, p, place, 0, end);
  LoadTile<T, D>(stages + kTileBytes, p.v_base, p, place, 0, end);
  CommitCopies();
  Rows<T, D> rows;
  rows.Reset();
  uint32_t stage = stages, other = stages + 2 * kTileBytes;
  for (int first = 0; first < end; first += kTileTokens) {
    AwaitCopies<0>();
    __syncthreads();  // this tile is here for all, and the one before is used up
    const int next = first + kTileTokens;
    if (next < end) {
      LoadTile<T, D>(other, p.k_base, p, place, next, end);
      LoadTile<T, D>(other + kTileBytes, p.v_base, p, place, next, end);
      CommitCopies();
    }
    float logits[kRowTiles][kTokenTiles][4];
    rows.Logits(logits, query_tile, stage);
    if (next > place.seen_first) rows.Mask(logits, place.seen_first - first);
    rows.Weigh(logits, p.scale * kLog2E);
    rows.AddValues(logits, stage + kTileBytes);
    const uint32_t used = stage;
    stage = other;
    other = used;
  }
  rows.Store(p, place);
}

template <typename T, int D>
void LaunchPrefill(const PrefillParams& p, const Stream& stream) {
  const dim3 blocks(static_cast<unsigned>(p.q_heads),
                    static_cast<unsigned>(CeilDiv(p.query_len_max, kBlockRows)),
                    static_cast<unsigned>(p.sequences));
  const size_t bytes = (kBlockRows + 4 * kTileTokens) * TileLayout<D>::kRowBytes;
  Launch(PrefillKernel<T, D>, Grid(blocks, kThreads, bytes), stream, p);
}

template <typename T>
bool LaunchByHeadDim(const PrefillParams& p, const Stream& stream) {
  switch (p.head_dim) {
    case 64: LaunchPrefill<T, 64>(p, stream); return true;
    case 80: LaunchPrefill<T, 80>(p, stream); return true;
    case 96: LaunchPrefill<T, 96>(p, stream); return true;
    case 128: LaunchPrefill<T, 128>(p, stream); return true;
    default: return false;
  }
}

}  // namespace

bool MmaPrefillAttention(const PrefillParams& params, DType dtype, const Stream& stream) {
  if (dtype == DType::kBF16) return LaunchByHeadDim<__nv_bfloat16>(params, stream);
  if (dtype == DType::kF16) return LaunchByHeadDim<__half>(params, stream);
  return false;
}

}  // namespace tamis::cuda
