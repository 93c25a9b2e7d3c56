// SPDX-License-Identifier: Apache-2.0
// How keys and values come into the shared memory of split_attention.cu: every warp copies its own
// tiles into a private ring, ahead of its computation.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {

constexpr int kStages = 3;

// Without values a ring has twice the stages.
__device__ constexpr int Stages(bool keys_only) { return keys_only ? 2 * kStages : kStages; }

// Shared memory of a block: lengths [S], then chunks before each sequence [S + 1], then the merge
// space, then the rings.
template <int D, int kWarps>
struct SharedLayout {
  static constexpr int kTileBytes = kSplitTileTokens * TileLayout<D>::kRowBytes;
  static constexpr int kRingBytes = kStages * 2 * kTileBytes;
  // Keys, then values.
  __device__ static constexpr int StageBytes(bool keys_only) {
    return keys_only ? kTileBytes : 2 * kTileBytes;
  }
  __host__ __device__ static int MergeOffset(int sequences) {
    return ((2 * sequences + 1 + kQueueSlots) * 4 + 127) / 128 * 128;
  }
  __host__ __device__ static int RingOffset(int sequences, int heads) {
    return (MergeOffset(sequences) + kWarps * heads * (D + 2) * 4 + 127) / 128 * 128;
  }
  __host__ __device__ static int Bytes(int sequences, int heads) {
    return RingOffset(sequences, heads) + kWarps * kRingBytes;
  }
};

inline __device__ void CountChunks(const SplitParams& p, int* lengths, int* chunks_before) {
  if (threadIdx.x < kWarpThreads) {
    int before = 0;
    for (int first = 0; first < p.sequences; first += kWarpThreads) {
      const int s = first + static_cast<int>(threadIdx.x);
      const int length = s < p.sequences ? AttendedTokens(p, s) : 0;
      int inclusive = p.rule.Chunks(length);
      const int own = inclusive;
#pragma unroll
      for (int offset = 1; offset < kWarpThreads; offset *= 2) {
        const int below = __shfl_up_sync(kFullMask, inclusive, offset);
        if (static_cast<int>(threadIdx.x) >= offset) inclusive += below;
      }
      if (s < p.sequences) {
        lengths[s] = length;
        chunks_before[s] = before + inclusive - own;
      }
      before += __shfl_sync(kFullMask, inclusive, kWarpThreads - 1);
    }
    if (threadIdx.x == 0) chunks_before[p.sequences] = before;
  }
  __syncthreads();
}

// Runs ahead of the computation and copies this warp's tiles, across items.
template <typename T, int D, int kWarps>
class TileLoader {
 public:
  __device__ TileLoader(const SplitParams& p, const int* lengths, const int* chunks_before,
                        const int* queue, uint32_t ring)
      : p_(p), lengths_(lengths), ring_(ring), cursor_(p, lengths, chunks_before, queue, Warp()) {
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy_));
    Prepare();
  }

  __device__ int issued() const { return issued_; }

  // As TileCursor's.
  __device__ void SetItem(int index) {
    cursor_.SetItem(index);
    Prepare();
  }

  // Copies one tile into the next stage, as one group; false if there is none in the items that can
  // be read.
  __device__ bool Issue() {
    if (!cursor_.at_tile()) return false;
    const int tokens = cursor_.work().tokens - cursor_.first_token();
    if (p_.whole_tiles && tokens >= kSplitTileTokens) {
      CopyWholeTile();
    } else {
      CopyTile(tokens);
    }
    CommitCopies();
    ++issued_;
    stage_ = stage_ + 1 == Stages(p_.keys_only) ? 0 : stage_ + 1;
    cursor_.Pass();
    Prepare();
    return true;
  }

  // Fills the ring while the kernel in front still runs, up to the first tile with a sequence's
  // last token: the running step writes that one.
  __device__ void IssueSettled() {
    while (issued_ < Stages(p_.keys_only) - 1 && cursor_.at_tile() &&
           cursor_.work().first + cursor_.first_token() + kSplitTileTokens <
               lengths_[cursor_.work().sequence]) {
      Issue();
    }
  }

 private:
  using Layout = TileLayout<D>;
  using Shared = SharedLayout<D, kWarps>;
  static constexpr unsigned kPieces = Layout::kPieces;
  static constexpr int kCopies = kSplitTileTokens * Layout::kPieces / kWarpThreads;

  __device__ static int Warp() { return static_cast<int>(threadIdx.x / kWarpThreads); }
  __device__ static unsigned Lane() { return threadIdx.x % kWarpThreads; }
  __device__ int KvHead() const { return cursor_.work().unit / p_.units_per_kv_head(); }
  __device__ uint32_t Stage() const {
    return ring_ + static_cast<uint32_t>(stage_ * Shared::StageBytes(p_.keys_only));
  }

  // Goes on to the next tile, if it can, and asks where it lies: one tile before that is needed.
  __device__ void Prepare() {
    if (!cursor_.Advance()) return;
    if (cursor_.tile() == 0) head_ = KvHead() * p_.head_stride;
    FindRow();
  }

  // Whole tiles: the row of their first token. Else lane r < 16 finds the row of token r.
  __device__ void FindRow() {
    const Work& work = cursor_.work();
    const int attended = work.first + cursor_.first_token();
    const int tokens = work.tokens - cursor_.first_token();
    row_ = 0;
    if (p_.whole_tiles) {
      const int block =
          p_.block_table[int64_t{work.sequence} * p_.blocks_max + (attended >> p_.block_shift)];
      row_ = block * p_.rows_per_block + (attended & (p_.block_tokens - 1));
      if (tokens < kSplitTileTokens) row_ += static_cast<int>(Lane() % kSplitTileTokens);
    } else if (Lane() < kSplitTileTokens && static_cast<int>(Lane()) < tokens) {
      row_ = AttendedRow(p_, work.sequence, KvHead(), attended + static_cast<int>(Lane()));
    }
  }

  // The rows of a page follow each other, so the tile is one run of memory.
  __device__ void CopyWholeTile() {
    const int64_t offset = head_ + int64_t{row_} * D + Lane() * 8;
    const T* keys = static_cast<const T*>(p_.k_base) + offset;
    const T* values = static_cast<const T*>(p_.v_base) + offset;
    const uint32_t stage = Stage();
#pragma unroll
    for (unsigned i = 0; i < kCopies; ++i) {
      const unsigned entry = i * kWarpThreads + Lane();
      const uint32_t to = stage + Layout::Offset(entry / kPieces, entry % kPieces);
      CopyAsync16(to, keys + i * kWarpThreads * 8, policy_);
      if (p_.keys_only) continue;
      CopyAsync16(to + Shared::kTileBytes, values + i * kWarpThreads * 8, policy_);
    }
  }

  __device__ void CopyTile(int tokens) {
    const T* keys = static_cast<const T*>(p_.k_base) + head_;
    const T* values = static_cast<const T*>(p_.v_base) + head_;
    const uint32_t stage = Stage();
    const auto row_stride = static_cast<int>(p_.row_stride);
#pragma unroll
    for (unsigned i = 0; i < kCopies; ++i) {
      const unsigned entry = i * kWarpThreads + Lane();
      const unsigned token = entry / kPieces;
      const unsigned piece = entry % kPieces;
      const int row = __shfl_sync(kFullMask, row_, static_cast<int>(token));
      const bool exists = static_cast<int>(token) < tokens;
      const int64_t offset = exists ? int64_t{row} * row_stride + piece * 8 : 0;
      const uint32_t to = stage + Layout::Offset(token, piece);
      CopyAsync16(to, keys + offset, exists);
      if (p_.keys_only) continue;
      CopyAsync16(to + Shared::kTileBytes, values + offset, exists);
    }
  }

  const SplitParams& p_;
  const int* lengths_;
  uint32_t ring_;
  uint64_t policy_;  // keys and values are read once: they leave the L2 first
  TileCursor<kWarps> cursor_;
  int stage_ = 0;
  int issued_ = 0;
  int row_ = 0;
  int64_t head_ = 0;  // elements to this KV head
};

}  // namespace tamis::cuda
