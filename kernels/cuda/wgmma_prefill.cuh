// SPDX-License-Identifier: Apache-2.0
// What a block of WgmmaPrefillAttention works on, how its shared memory is laid out, and the warps
// that fill it.
#pragma once

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/warpgroup.cuh"

namespace tamis::cuda::wgmma_prefill {

constexpr int kConsumers = 2;  // warpgroups
constexpr int kThreads = (1 + kConsumers) * kWarpgroupThreads;
constexpr int kConsumerRows = 64;
constexpr int kBlockRows = kConsumers * kConsumerRows;
constexpr int kTileTokens = 128;
constexpr int kStages = 2;
// Pieces of a page that the copy engine fetches: a lane knows where each of a tile lies.
constexpr int kPieceTokensMin = 8;
struct WgmmaParams {
  CUtensorMap queries;     // boxes of kBlockRows x 64
  CUtensorMap pieces;      // of all pages, as rows of D; boxes of piece_tokens x 64
  CUtensorMap single_row;  // the same in boxes of 1 x 64
  PrefillParams p;
  int piece_tokens;
  int total_rows;  // of `pieces`
};

// Where a block stands.
struct Place {
  int sequence, head, kv_head;
  int first_row;   // in q
  int rows;        // that exist, at most kBlockRows
  int seen_first;  // tokens that the first row attends to; each row sees one more
  int end;         // tokens that the last row attends to
};

// Finds piece `piece` of kBlockRows rows, counted over all sequences; false if there are fewer.
// Every lane of a warp gives the same arguments and gets the same answer.
__device__ inline bool FindRows(const PrefillParams& p, int piece, Place& place) {
  const int lane = threadIdx.x % kWarpThreads;
  for (int first = 0; first < p.sequences; first += kWarpThreads) {
    const int s = first + lane;
    const int begin = s < p.sequences ? p.query_starts[s] : 0;
    const int queries = s < p.sequences ? p.query_starts[s + 1] - begin : 0;
    const int own = (queries + kBlockRows - 1) / kBlockRows;
    int until = own;  // pieces of this lane's sequence and those before it
    for (int step = 1; step < kWarpThreads; step *= 2) {
      const int before = __shfl_up_sync(kFullMask, until, step);
      if (lane >= step) until += before;
    }
    const unsigned behind = __ballot_sync(kFullMask, piece < until);
    if (behind == 0) {
      piece -= __shfl_sync(kFullMask, until, kWarpThreads - 1);
      continue;
    }
    const int at = __ffs(static_cast<int>(behind)) - 1;
    const int row = (piece - __shfl_sync(kFullMask, until - own, at)) * kBlockRows;
    place.sequence = first + at;
    place.first_row = __shfl_sync(kFullMask, begin, at) + row;
    const int left = __shfl_sync(kFullMask, queries, at) - row;
    place.rows = min(kBlockRows, left);
    place.end = p.context_lens[place.sequence] - (left - place.rows);
    place.seen_first = place.end - (place.rows - 1);
    return true;
  }
  return false;
}

// Addresses in shared memory. Tiles are panels of 64 columns (warpgroup.cuh).
template <int D>
struct SharedLayout {
  static constexpr uint32_t kQueryBytes = kBlockRows * D * 2;
  static constexpr uint32_t kQueryPanelBytes = kBlockRows * kPanelRowBytes;
  static constexpr uint32_t kTileBytes = kTileTokens * D * 2;
  static constexpr uint32_t kTilePanelBytes = kTileTokens * kPanelRowBytes;
  static constexpr uint32_t kBarriers = kQueryBytes + 2 * kStages * kTileBytes;
  static constexpr uint32_t kBytes = kBarriers + 8 * (1 + 4 * kStages);

  uint32_t base;
  __device__ uint32_t Queries() const { return base; }
  __device__ uint32_t Keys(int stage) const { return base + kQueryBytes + stage * kTileBytes; }
  __device__ uint32_t Values(int stage) const { return Keys(kStages + stage); }
  __device__ uint32_t QueriesFull() const { return base + kBarriers; }
  __device__ uint32_t KeysFull(int stage) const { return QueriesFull() + 8 * (1 + stage); }
  __device__ uint32_t ValuesFull(int stage) const { return KeysFull(kStages + stage); }
  __device__ uint32_t KeysFree(int stage) const { return KeysFull(2 * kStages + stage); }
  __device__ uint32_t ValuesFree(int stage) const { return KeysFull(3 * kStages + stage); }
};

// Which of kStages places a tile is in, and the parity of its use.
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void Next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// A producer: one warp. Two fetch keys and two values, every other piece of each tile: starting a
// copy takes long enough that one warp would hold the products up.
template <int D>
struct Producer {
  const WgmmaParams& w;
  const Place& place;
  const SharedLayout<D> shared;
  const bool values;  // or keys
  const int parity;   // which pieces
  const int lane = threadIdx.x % kWarpThreads;
  const int pieces = kTileTokens / w.piece_tokens;

  // The row of piece `lane` of the tile, or past all rows.
  __device__ int PieceRow(int tile) const {
    const int token = tile * kTileTokens + lane * w.piece_tokens;
    if (lane >= pieces || token >= place.end) return w.total_rows;
    const int in_table = token >> w.p.block_shift;
    const int block = w.p.block_table[int64_t{place.sequence} * w.p.blocks_max + in_table];
    return block * w.p.rows_per_block + place.kv_head * 2 * w.p.block_tokens + token -
           in_table * w.p.block_tokens + (values ? w.p.block_tokens : 0);
  }

  __device__ void FetchRows(uint32_t to, const CUtensorMap& map, int row, uint32_t full) const {
#pragma unroll
    for (int panel = 0; panel < D / kPanelColumns; ++panel) {
      FetchBox(to + panel * SharedLayout<D>::kTilePanelBytes, &map, panel * kPanelColumns, row,
               full);
    }
  }

  __device__ void FetchQueries() const {
    if (!ElectLane()) return;
    ArriveExpecting(shared.QueriesFull(), SharedLayout<D>::kQueryBytes);
#pragma unroll
    for (int panel = 0; panel < D / kPanelColumns; ++panel) {
      FetchBox(shared.Queries() + panel * SharedLayout<D>::kQueryPanelBytes, &w.queries,
               place.head * D + panel * kPanelColumns, place.first_row, shared.QueriesFull());
    }
  }

  // What lies behind the context becomes zeros: a weight of zero does not hide a NaN.
  __device__ void FetchTile(int piece_row, int tile, uint32_t to, uint32_t full) const {
    if (ElectLane()) {
      const int own = (pieces + 1 - parity) / 2;
      ArriveExpecting(full, own * w.piece_tokens * D * 2);
    }
    for (int i = parity; i < pieces; i += 2) {
      const int row = __shfl_sync(kFullMask, piece_row, i);
      if (!ElectLane()) continue;
      const uint32_t piece = to + i * w.piece_tokens * kPanelRowBytes;
      const int exist = place.end - (tile * kTileTokens + i * w.piece_tokens);
      if (exist <= 0 || exist >= w.piece_tokens) {
        FetchRows(piece, w.pieces, row, full);
      } else {
        for (int r = 0; r < w.piece_tokens; ++r) {
          FetchRows(piece + r * kPanelRowBytes, w.single_row, r < exist ? row + r : w.total_rows,
                    full);
        }
      }
    }
  }

  __device__ void Run() const {
    if (!values && parity == 0) FetchQueries();
    const int tiles = (place.end + kTileTokens - 1) / kTileTokens;
    Turn turn;
    int row = PieceRow(0);
    for (int tile = 0; tile < tiles; ++tile) {
      const int next_row = PieceRow(tile + 1);
      const int stage = turn.stage;
      AwaitPhase(values ? shared.ValuesFree(stage) : shared.KeysFree(stage), turn.parity ^ 1);
      FetchTile(row, tile, values ? shared.Values(stage) : shared.Keys(stage),
                values ? shared.ValuesFull(stage) : shared.KeysFull(stage));
      turn.Next();
      row = next_row;
    }
  }
};

}  // namespace tamis::cuda::wgmma_prefill
