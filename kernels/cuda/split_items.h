// SPDX-License-Identifier: Apache-2.0
// Attention of one query per sequence is handed out in items: a chunk of a sequence under a unit of
// heads. Which item is which, and the way of a warp through the items of its block. Host and
// device.
#pragma once

#include "kernels/cuda/chunk_rule.h"
#include "kernels/host_device.h"

namespace tamis::cuda {

// A unit is what one block computes at once: the query heads of a KV group, at most 16.
constexpr int kUnitHeadsMax = 16;
TAMIS_HOST_DEVICE constexpr int UnitsPerKvHead(int group) {
  return (group + kUnitHeadsMax - 1) / kUnitHeadsMax;
}

struct SplitShape {
  int sequences = 0;  // S
  int kv_heads = 0;   // Nkv_local
  int group = 0;      // Nq_local / Nkv_local
  ChunkRule rule;

  TAMIS_HOST_DEVICE int q_heads() const { return kv_heads * group; }
  TAMIS_HOST_DEVICE int units_per_kv_head() const { return UnitsPerKvHead(group); }
  TAMIS_HOST_DEVICE int units() const { return kv_heads * units_per_kv_head(); }
};

constexpr int kSplitTileTokens = 16;

// Items are handed out as blocks get to them: the first two are fixed, further ones are counted
// off, always one ahead of their use. All warps of a block see the same ones, in order. While a
// block is at its item i, the slot of item i + 2 is written; those of i and i + 1 can be read.
constexpr int kQueueSlots = 4;
constexpr int kFixedItems = 2;

// An item as a warp sees it: its tiles are every kWarps-th of the chunk.
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

// Fills `work` for work.item, which never gets smaller; false past the last item. `lengths` [S] are
// attended tokens, `chunks_before` [S + 1] the chunks of all sequences in front.
template <int kWarps>
TAMIS_HOST_DEVICE bool Locate(Work& work, const SplitShape& shape, const int* lengths,
                              const int* chunks_before, int warp) {
  const int units = shape.units();
  const int chunk = work.item / units;
  if (chunk >= chunks_before[shape.sequences]) return false;
  work.unit = work.item - chunk * units;
  const int unit_in_head = work.unit % shape.units_per_kv_head();
  work.first_head =
      work.unit / shape.units_per_kv_head() * shape.group + unit_in_head * kUnitHeadsMax;
  const int heads_left = shape.group - unit_in_head * kUnitHeadsMax;
  work.heads = heads_left < kUnitHeadsMax ? heads_left : kUnitHeadsMax;
  while (chunks_before[work.sequence + 1] <= chunk) ++work.sequence;
  work.chunk = chunk - chunks_before[work.sequence];
  const int length = lengths[work.sequence];
  const int chunk_tokens = shape.rule.Tokens(length);
  work.first = work.chunk * chunk_tokens;
  work.tokens = length - work.first < chunk_tokens ? length - work.first : chunk_tokens;
  const int tiles = (work.tokens + kSplitTileTokens - 1) / kSplitTileTokens;
  work.tiles = (tiles - warp + kWarps - 1) / kWarps;
  return true;
}

// A warp's way through the tiles of its block's items, ahead of the computation.
template <int kWarps>
class TileCursor {
 public:
  TAMIS_HOST_DEVICE TileCursor(const SplitShape& shape, const int* lengths,
                               const int* chunks_before, const int* queue, int warp)
      : shape_(shape),
        lengths_(lengths),
        chunks_before_(chunks_before),
        queue_(queue),
        warp_(warp) {}

  TAMIS_HOST_DEVICE bool at_tile() const { return at_tile_; }
  // Of the tile that the cursor is at.
  TAMIS_HOST_DEVICE const Work& work() const { return work_; }
  TAMIS_HOST_DEVICE int tile() const { return tile_; }
  TAMIS_HOST_DEVICE int first_token() const { return (tile_ * kWarps + warp_) * kSplitTileTokens; }

  // The block is at its `index`-th item now. To be told of every one, also of those in which this
  // warp has no tile: an item that was passed over would be looked for in a slot that has been
  // written again.
  TAMIS_HOST_DEVICE void SetItem(int index) { index_max_ = index + kFixedItems - 1; }

  // Goes on to the next tile if it is in the items that can be read; false if it is not, or if the
  // cursor is at a tile already.
  TAMIS_HOST_DEVICE bool Advance() {
    if (at_tile_) return false;
    while (tile_ >= work_.tiles) {
      if (finished_ || index_ == index_max_) return false;
      ++index_;
      work_.item = queue_[index_ % kQueueSlots];
      finished_ = !Locate<kWarps>(work_, shape_, lengths_, chunks_before_, warp_);
      if (finished_) return false;
      tile_ = 0;
    }
    at_tile_ = true;
    return true;
  }

  // The tile has been taken.
  TAMIS_HOST_DEVICE void Pass() {
    ++tile_;
    at_tile_ = false;
  }

 private:
  const SplitShape& shape_;
  const int* lengths_;
  const int* chunks_before_;
  const int* queue_;  // [kQueueSlots]
  int warp_;
  Work work_;
  bool at_tile_ = false;
  bool finished_ = false;
  int index_ = -1;
  int index_max_ = kFixedItems - 1;
  int tile_ = 0;
};

}  // namespace tamis::cuda
