// SPDX-License-Identifier: Apache-2.0
// Which chunks a block of split_attention.cu takes, and how their keys and values come into shared
// memory: every warp copies its own tiles into a private ring, ahead of its computation.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {

constexpr int kTileTokens = 16;
constexpr int kStages = 3;

// Without values a ring has twice the stages.
__device__ constexpr int Stages(bool keys_only) { return keys_only ? 2 * kStages : kStages; }

// Items are handed out as blocks get to them: the first two are fixed, further ones are counted
// off, always one ahead of their use. All warps of a block see the same ones, in order.
constexpr int kQueueSlots = 4;
constexpr int kFixedItems = 2;

// One chunk of one unit, as a warp sees it: its tiles are every kWarps-th of the chunk.
struct Work {
  int item = 0;  // counts (sequence, chunk, unit), the last fastest
  int sequence = 0;
  int unit = 0;
  int first_head = 0;  // of the unit's query heads
  int heads = 0;
  int chunk = 0;
  int first = 0;        // its first attended token
  int tokens = 0;       // attended tokens in it
  int tiles = 0;        // of this warp
  int score_begin = 0;  // the sequence's candidates, where they are scored
  int score_end = 0;
};

// Shared memory of a block: lengths [S], then chunks before each sequence [S + 1], then the merge
// space, then the rings.
template <int D, int kWarps>
struct SharedLayout {
  static constexpr int kTileBytes = kTileTokens * TileLayout<D>::kRowBytes;
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

// Fills `work` for work.item; false past the last item.
template <int kWarps>
__device__ bool Locate(Work& work, const SplitParams& p, const int* lengths,
                       const int* chunks_before, int warp) {
  const int units = p.units();
  const int chunk = work.item / units;
  if (chunk >= chunks_before[p.sequences]) return false;
  work.unit = work.item - chunk * units;
  const int unit_in_head = work.unit % p.units_per_kv_head();
  work.first_head = work.unit / p.units_per_kv_head() * p.group + unit_in_head * kUnitHeadsMax;
  work.heads = min(p.group - unit_in_head * kUnitHeadsMax, kUnitHeadsMax);
  while (chunks_before[work.sequence + 1] <= chunk) ++work.sequence;
  work.chunk = chunk - chunks_before[work.sequence];
  const int length = lengths[work.sequence];
  const int chunk_tokens = p.rule.Tokens(length);
  work.first = work.chunk * chunk_tokens;
  work.tokens = min(chunk_tokens, length - work.first);
  const int tiles = (work.tokens + kTileTokens - 1) / kTileTokens;
  work.tiles = (tiles - warp + kWarps - 1) / kWarps;
  return true;
}

// Runs ahead of the computation and copies this warp's tiles, across items.
template <typename T, int D, int kWarps>
class TileLoader {
 public:
  __device__ TileLoader(const SplitParams& p, const int* lengths, const int* chunks_before,
                        const int* queue, uint32_t ring)
      : p_(p), lengths_(lengths), chunks_before_(chunks_before), queue_(queue), ring_(ring) {
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy_));
    Prepare(kFixedItems - 1);
  }

  __device__ int issued() const { return issued_; }

  // Copies one tile into the next stage, as one group; false if there is none in the items up to
  // `index_max`, which must be in the queue.
  __device__ bool Issue(int index_max) {
    if (!prepared_) Prepare(index_max);
    if (!prepared_) return false;
    const int tokens = work_.tokens - FirstToken();
    if (p_.whole_tiles && tokens >= kTileTokens) {
      CopyWholeTile();
    } else {
      CopyTile(tokens);
    }
    CommitCopies();
    ++issued_;
    ++tile_;
    stage_ = stage_ + 1 == Stages(p_.keys_only) ? 0 : stage_ + 1;
    prepared_ = false;
    Prepare(index_max);
    return true;
  }

  // At every item, also where this warp has no tile in it: the queue keeps few items, and one that
  // was passed over would be read when others are in its place.
  __device__ void KeepUp(int index_max) {
    if (!prepared_) Prepare(index_max);
  }

  // Fills the ring while the kernel in front still runs, up to the first tile with a sequence's
  // last token: the running step writes that one.
  __device__ void IssueSettled() {
    while (issued_ < Stages(p_.keys_only) - 1 && prepared_ &&
           work_.first + FirstToken() + kTileTokens < lengths_[work_.sequence]) {
      Issue(kFixedItems - 1);
    }
  }

 private:
  using Layout = TileLayout<D>;
  using Shared = SharedLayout<D, kWarps>;
  static constexpr unsigned kPieces = Layout::kPieces;
  static constexpr int kCopies = kTileTokens * Layout::kPieces / kWarpThreads;

  __device__ static int Warp() { return static_cast<int>(threadIdx.x / kWarpThreads); }
  __device__ static unsigned Lane() { return threadIdx.x % kWarpThreads; }
  __device__ int KvHead() const { return work_.unit / p_.units_per_kv_head(); }
  __device__ int FirstToken() const { return (tile_ * kWarps + Warp()) * kTileTokens; }
  __device__ uint32_t Stage() const {
    return ring_ + static_cast<uint32_t>(stage_ * Shared::StageBytes(p_.keys_only));
  }

  // Goes on to the next tile, if it is in the items up to `index_max`, and asks where it lies: one
  // tile before that is needed.
  __device__ void Prepare(int index_max) {
    while (tile_ >= work_.tiles) {
      if (finished_ || index_ == index_max) return;
      ++index_;
      work_.item = queue_[index_ % kQueueSlots];
      finished_ = !Locate<kWarps>(work_, p_, lengths_, chunks_before_, Warp());
      if (finished_) return;
      tile_ = 0;
      head_ = KvHead() * p_.head_stride;
    }
    FindRow();
    prepared_ = true;
  }

  // Whole tiles: the row of their first token. Else lane r < 16 finds the row of token r.
  __device__ void FindRow() {
    const int attended = work_.first + FirstToken();
    row_ = 0;
    if (p_.whole_tiles) {
      const int block =
          p_.block_table[int64_t{work_.sequence} * p_.blocks_max + (attended >> p_.block_shift)];
      row_ = block * p_.rows_per_block + (attended & (p_.block_tokens - 1));
      if (work_.tokens - FirstToken() < kTileTokens) row_ += static_cast<int>(Lane() % kTileTokens);
    } else if (Lane() < kTileTokens && FirstToken() + static_cast<int>(Lane()) < work_.tokens) {
      row_ = AttendedRow(p_, work_.sequence, KvHead(), attended + static_cast<int>(Lane()));
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
  const int* chunks_before_;
  const int* queue_;
  uint32_t ring_;
  uint64_t policy_;  // keys and values are read once: they leave the L2 first
  Work work_;
  bool prepared_ = false;
  bool finished_ = false;
  int index_ = -1;
  int tile_ = 0;
  int stage_ = 0;
  int issued_ = 0;
  int row_ = 0;
  int64_t head_ = 0;  // elements to this KV head
};

}  // namespace tamis::cuda
