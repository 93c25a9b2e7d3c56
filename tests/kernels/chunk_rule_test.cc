// SPDX-License-Identifier: Apache-2.0
// What rows of attention are cut into on GPUs: counted by hand and for many lengths.
#include "kernels/cuda/chunk_rule.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace tamis::cuda {
namespace {

TEST(ChunkRuleTest, LongRowsOfManyHeadsGetLongChunks) {
  const ChunkRule eight(8), one(1);
  EXPECT_EQ(eight.Tokens(4096), 256);
  EXPECT_EQ(eight.Tokens(4097), 512);
  EXPECT_EQ(eight.Tokens(32767), 512);
  EXPECT_EQ(eight.Tokens(32768), 1024);
  EXPECT_EQ(eight.Tokens(65536), 2048);
  EXPECT_EQ(eight.Tokens(1 << 20), 2048);
  EXPECT_EQ(one.Tokens(131072), 512);
  EXPECT_EQ(one.Tokens(450000), 1024);
  EXPECT_EQ(eight.Chunks(0), 0);
  EXPECT_EQ(eight.Chunks(1), 1);
  EXPECT_EQ(eight.Chunks(131073), 65);
}

TEST(ChunkRuleTest, ChunksMaxBoundsEveryShorterRow) {
  for (const int units : {1, 2, 3, 8, 9, 40, 128}) {
    const ChunkRule rule(units);
    int most = 0;
    for (int length = 1; length < 140000; ++length) {
      const int chunks = rule.Chunks(length);
      most = std::max(most, chunks);
      ASSERT_EQ(rule.ChunksMax(length), most) << units << " units, " << length << " tokens";
      ASSERT_LT((chunks - 1) * rule.Tokens(length), length);
      ASSERT_GE(chunks * rule.Tokens(length), length);
    }
  }
}

}  // namespace
}  // namespace tamis::cuda
