// SPDX-License-Identifier: Apache-2.0
// Who holds which KV block of one layer group: reference counts and a free list, no memory.
// Blocks are counted rather than owned so that a prefix cache can share them later.
#pragma once

#include <cstdint>
#include <vector>

namespace tamis {

// Allocates nothing after construction. Engine thread only.
class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  // A free block, now referenced once. Dies when there is none: callers look at num_free first.
  int32_t Take();
  void AddReference(int32_t block_id);
  // The block becomes free when its last reference goes.
  void Release(int32_t block_id);

  int64_t num_blocks() const { return static_cast<int64_t>(references_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int32_t references(int32_t block_id) const;

 private:
  std::vector<int32_t> references_;  // [num_blocks]
  std::vector<int32_t> free_;        // a stack: the block freed last is the one taken next
};

}  // namespace tamis
