// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/block_pool.h"

#include <limits>

#include "kernels/check.h"

namespace tamis {

BlockPool::BlockPool(int64_t num_blocks) {
  CHECK(num_blocks > 0 && num_blocks <= std::numeric_limits<int32_t>::max())
      << "pool of " << num_blocks << " blocks";
  references_.assign(static_cast<size_t>(num_blocks), 0);
  free_.reserve(static_cast<size_t>(num_blocks));
  for (int64_t i = num_blocks - 1; i >= 0; --i) free_.push_back(static_cast<int32_t>(i));
}

int32_t BlockPool::Take() {
  CHECK(!free_.empty()) << "no free block of " << num_blocks();
  const int32_t block_id = free_.back();
  free_.pop_back();
  CHECK_EQ(references_[static_cast<size_t>(block_id)], 0) << "block " << block_id;
  references_[static_cast<size_t>(block_id)] = 1;
  return block_id;
}

void BlockPool::AddReference(int32_t block_id) {
  CHECK_GT(references(block_id), 0) << "block " << block_id << " is free";
  ++references_[static_cast<size_t>(block_id)];
}

void BlockPool::Release(int32_t block_id) {
  CHECK_GT(references(block_id), 0) << "block " << block_id << " is free already";
  if (--references_[static_cast<size_t>(block_id)] == 0) free_.push_back(block_id);
}

int32_t BlockPool::references(int32_t block_id) const {
  CHECK(block_id >= 0 && block_id < num_blocks()) << "block " << block_id;
  return references_[static_cast<size_t>(block_id)];
}

}  // namespace tamis
