// SPDX-License-Identifier: Apache-2.0
// Reference counts and the free list.
#include "runtime/engine/block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace tamis {
namespace {

TEST(BlockPoolTest, HandsOutEveryBlockOnce) {
  BlockPool pool(5);
  std::set<int32_t> taken;
  for (int i = 0; i < 5; ++i) taken.insert(pool.Take());
  EXPECT_EQ(taken, (std::set<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.num_blocks(), 5);
}

TEST(BlockPoolTest, ASharedBlockIsFreeWhenItsLastReferenceGoes) {
  BlockPool pool(2);
  const int32_t block_id = pool.Take();
  pool.AddReference(block_id);
  EXPECT_EQ(pool.references(block_id), 2);
  pool.Release(block_id);
  EXPECT_EQ(pool.num_free(), 1);
  pool.Release(block_id);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_EQ(pool.references(block_id), 0);
}

TEST(BlockPoolDeathTest, MisuseDies) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.Release(0), "block 0 is free already");
  EXPECT_DEATH(pool.AddReference(0), "block 0 is free");
  EXPECT_DEATH(pool.Release(1), "block 1");
  EXPECT_DEATH(pool.Release(-1), "block -1");
  pool.Take();
  EXPECT_DEATH(pool.Take(), "no free block of 1");
  EXPECT_DEATH(BlockPool(0), "pool of 0 blocks");
}

}  // namespace
}  // namespace tamis
