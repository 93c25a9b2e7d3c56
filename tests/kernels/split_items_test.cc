// SPDX-License-Identifier: Apache-2.0
// A model of split_attention.cu's blocks on the CPU, with the code that its warps follow: every
// warp must copy exactly the tiles that it then computes with, however the items are handed out.
#include "kernels/cuda/split_items.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace tamis::cuda {
namespace {

using Tile = std::pair<int, int>;  // item, tile

struct Batch {
  SplitShape shape;
  std::vector<int> lengths, chunks_before;
};

Batch MakeBatch(int kv_heads, int group, std::vector<int> lengths) {
  Batch batch;
  batch.shape.sequences = static_cast<int>(lengths.size());
  batch.shape.kv_heads = kv_heads;
  batch.shape.group = group;
  batch.shape.rule = ChunkRule(batch.shape.units());
  batch.chunks_before.push_back(0);
  for (const int length : lengths) {
    batch.chunks_before.push_back(batch.chunks_before.back() + batch.shape.rule.Chunks(length));
  }
  batch.lengths = std::move(lengths);
  return batch;
}

template <int kWarps>
class Block {
 public:
  Block(const Batch& batch, int block, int grid)
      : batch_(batch), grid_(grid), queue_{block, block + grid, -1, -1} {
    cursors_.reserve(kWarps);
    for (int warp = 0; warp < kWarps; ++warp) {
      cursors_.emplace_back(batch.shape, batch.lengths.data(), batch.chunks_before.data(),
                            queue_.data(), warp);
      cursors_.back().Advance();
    }
  }

  // One item of the kernel's loop; false past the last. Warp 0 is the fastest, so that the others
  // find the slot of the item after the next one written.
  bool RunItem(int stages, int* next_item, std::vector<Tile>* computed) {
    Work work;
    work.item = queue_[static_cast<size_t>(index_ % kQueueSlots)];
    if (!Locate(work, 0)) return false;
    const int counted = (*next_item)++;
    for (int warp = 0; warp < kWarps; ++warp) {
      RunWarp(warp, work.item, stages, computed);
      if (warp != 0) continue;
      queue_[static_cast<size_t>((index_ + kFixedItems) % kQueueSlots)] =
          grid_ * kFixedItems + counted;
    }
    ++index_;
    return true;
  }

 private:
  bool Locate(Work& work, int warp) const {
    return cuda::Locate<kWarps>(work, batch_.shape, batch_.lengths.data(),
                                batch_.chunks_before.data(), warp);
  }

  bool Issue(int warp) {
    TileCursor<kWarps>& cursor = cursors_[static_cast<size_t>(warp)];
    if (!cursor.at_tile()) return false;
    issued_[static_cast<size_t>(warp)].emplace_back(cursor.work().item, cursor.tile());
    EXPECT_LT(cursor.first_token(), cursor.work().tokens);
    cursor.Pass();
    cursor.Advance();
    return true;
  }

  void RunWarp(int warp, int item, int stages, std::vector<Tile>* computed) {
    const auto w = static_cast<size_t>(warp);
    cursors_[w].SetItem(index_);
    cursors_[w].Advance();
    Work work;
    work.item = item;
    Locate(work, warp);
    for (int tile = 0; tile < work.tiles; ++tile) {
      while (static_cast<int>(issued_[w].size() - consumed_[w]) < stages - 1 && Issue(warp)) {
      }
      Issue(warp);
      ASSERT_LT(consumed_[w], issued_[w].size()) << "item " << item << ", warp " << warp;
      ASSERT_EQ(issued_[w][consumed_[w]], Tile(item, tile)) << "warp " << warp;
      ++consumed_[w];
      computed->emplace_back(item, tile * kWarps + warp);
    }
  }

  const Batch& batch_;
  int grid_;
  std::array<int, kQueueSlots> queue_;
  int index_ = 0;
  std::vector<TileCursor<kWarps>> cursors_;
  std::array<std::vector<Tile>, kWarps> issued_;
  std::array<size_t, kWarps> consumed_ = {};
};

// All tiles of all items, each once, however fast the blocks are.
template <int kWarps>
void ExpectEveryTileOnce(const Batch& batch, int grid, int stages, unsigned seed) {
  const int items = batch.chunks_before.back() * batch.shape.units();
  std::vector<Tile> expected;
  for (Work work; work.item < items; ++work.item) {
    ASSERT_TRUE(
        cuda::Locate<1>(work, batch.shape, batch.lengths.data(), batch.chunks_before.data(), 0));
    for (int tile = 0; tile < work.tiles; ++tile) expected.emplace_back(work.item, tile);
  }
  std::vector<Block<kWarps>> blocks;
  blocks.reserve(static_cast<size_t>(grid));
  for (int block = 0; block < grid; ++block) blocks.emplace_back(batch, block, grid);
  std::vector<size_t> running(blocks.size());
  for (size_t i = 0; i < running.size(); ++i) running[i] = i;
  std::mt19937 random(seed);
  std::vector<Tile> computed;
  int next_item = 0;
  while (!running.empty()) {
    const size_t at = random() % running.size();
    const bool ran = blocks[running[at]].RunItem(stages, &next_item, &computed);
    ASSERT_FALSE(::testing::Test::HasFailure());
    if (!ran) running.erase(running.begin() + static_cast<std::ptrdiff_t>(at));
  }
  std::sort(computed.begin(), computed.end());
  EXPECT_EQ(computed, expected);
}

TEST(SplitItemsTest, WarpsWithoutATileInManyItemsInARowFindTheirNext) {
  std::vector<int> one_block(5, 16);
  one_block.push_back(300);
  ExpectEveryTileOnce<8>(MakeBatch(1, 1, one_block), 1, 3, 1);

  std::vector<int> contexts(200, 16);
  contexts.insert(contexts.end(), 56, 512);
  ExpectEveryTileOnce<8>(MakeBatch(8, 4, contexts), 132, 3, 2);
  ExpectEveryTileOnce<4>(MakeBatch(8, 8, contexts), 132, 6, 3);
}

TEST(SplitItemsTest, AnyBatchesAndSpeedsOfBlocks) {
  std::mt19937 random(4);
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::vector<int> contexts(1 + random() % 96);
    const unsigned longest = seed % 4 == 0 ? 9000 : 400;
    for (int& context : contexts) context = static_cast<int>(random() % longest);
    const int grid = 1 + static_cast<int>(random() % 40);
    SCOPED_TRACE(::testing::Message()
                 << "seed " << seed << ", " << contexts.size() << " sequences");
    ExpectEveryTileOnce<8>(MakeBatch(3, 4, contexts), grid, 3, seed);
    ExpectEveryTileOnce<4>(MakeBatch(1, 20, contexts), grid, 6, seed);
  }
}

}  // namespace
}  // namespace tamis::cuda
