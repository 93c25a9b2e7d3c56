// SPDX-License-Identifier: Apache-2.0
// Slices tile the whole, for every head count, group size and rank count that matters.
#include "parallel/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace tamis {
namespace {

TEST(SplitEvenly, TilesTheWholeWithTheLargerSlicesFirst) {
  for (int64_t total = 0; total <= 70; ++total) {
    for (int size = 1; size <= 12; ++size) {
      for (int64_t unit : {1, 2, 3, 8, 32}) {
        const int64_t units = (total + unit - 1) / unit;
        int64_t next = 0;
        for (int rank = 0; rank < size; ++rank) {
          const Slice slice = SplitEvenly(total, rank, size, unit);
          ASSERT_EQ(slice.begin, next) << total << " over " << size << " by " << unit;
          if (slice.begin < total) {
            ASSERT_EQ(slice.begin % unit, 0);
          }
          const int64_t want_units = units / size + (rank < units % size ? 1 : 0);
          ASSERT_EQ((slice.count + unit - 1) / unit, want_units);
          next = slice.end();
        }
        ASSERT_EQ(next, total);
      }
    }
  }
}

TEST(SplitEvenly, LargeTotalsDoNotOverflow) {
  const int64_t total = int64_t{1} << 40;
  EXPECT_EQ(SplitEvenly(total, 6, 7).end(), total);
}

std::vector<int64_t> QHeads(int64_t num_q_heads, int64_t num_kv_heads, int size) {
  std::vector<int64_t> counts;
  for (int rank = 0; rank < size; ++rank) {
    counts.push_back(ShardHeads(num_q_heads, num_kv_heads, rank, size).q_heads.count);
  }
  return counts;
}

TEST(ShardHeads, NineHeadsInThreeGroups) {
  using Counts = std::vector<int64_t>;
  EXPECT_EQ(QHeads(9, 3, 1), (Counts{9}));
  EXPECT_EQ(QHeads(9, 3, 2), (Counts{6, 3}));
  EXPECT_EQ(QHeads(9, 3, 3), (Counts{3, 3, 3}));
  EXPECT_EQ(QHeads(9, 3, 4), (Counts{3, 3, 2, 1}));
  EXPECT_EQ(QHeads(9, 3, 5), (Counts{3, 2, 1, 2, 1}));
  EXPECT_EQ(QHeads(9, 3, 6), (Counts{2, 1, 2, 1, 2, 1}));
  EXPECT_EQ(QHeads(9, 3, 7), (Counts{2, 1, 2, 1, 1, 1, 1}));
  EXPECT_EQ(QHeads(9, 3, 9), (Counts(9, 1)));
}

TEST(ShardHeads, ReplicasNameTheRanksOfTheGroup) {
  EXPECT_EQ(ShardHeads(9, 3, 1, 2), (HeadShard{{6, 3}, {2, 1}, {1, 1}}));
  EXPECT_EQ(ShardHeads(9, 3, 1, 4), (HeadShard{{3, 3}, {1, 1}, {1, 1}}));
  EXPECT_EQ(ShardHeads(9, 3, 2, 4), (HeadShard{{6, 2}, {2, 1}, {2, 2}}));
  EXPECT_EQ(ShardHeads(9, 3, 3, 4), (HeadShard{{8, 1}, {2, 1}, {2, 2}}));
  EXPECT_EQ(ShardHeads(32, 8, 15, 16), (HeadShard{{30, 2}, {7, 1}, {14, 2}}));
}

// For one model and rank count: query heads tile, every rank has the KV heads its query heads
// need and no others, and replicas are exactly the ranks with the same split group.
void ExpectSoundShards(int64_t num_q_heads, int64_t num_kv_heads, int size) {
  const int64_t heads_per_group = num_q_heads / num_kv_heads;
  std::vector<HeadShard> shards;
  for (int rank = 0; rank < size; ++rank) {
    shards.push_back(ShardHeads(num_q_heads, num_kv_heads, rank, size));
  }
  int64_t next = 0;
  for (int rank = 0; rank < size; ++rank) {
    const HeadShard& shard = shards[static_cast<size_t>(rank)];
    ASSERT_EQ(shard.q_heads.begin, next);
    ASSERT_GE(shard.q_heads.count, 1);
    next = shard.q_heads.end();
    ASSERT_EQ(shard.kv_heads.begin, shard.q_heads.begin / heads_per_group);
    ASSERT_EQ(shard.kv_heads.end(), (shard.q_heads.end() - 1) / heads_per_group + 1);
    if (size <= num_kv_heads) {
      ASSERT_EQ(shard.q_heads.count, shard.kv_heads.count * heads_per_group);
    } else {
      ASSERT_EQ(shard.kv_heads.count, 1);
    }
    int64_t replicas = 0;
    for (int other = 0; other < size; ++other) {
      const bool same = shards[static_cast<size_t>(other)].kv_heads == shard.kv_heads;
      const bool named = other >= shard.replicas.begin && other < shard.replicas.end();
      ASSERT_EQ(same, named) << "rank " << rank << " and rank " << other << " of " << size;
      replicas += same ? 1 : 0;
    }
    ASSERT_EQ(replicas, shard.replicas.count);
  }
  ASSERT_EQ(next, num_q_heads);
  // No rank has more than one group's, or one head's, worth above any other.
  const std::vector<int64_t> counts = QHeads(num_q_heads, num_kv_heads, size);
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  ASSERT_LE(*most - *least, heads_per_group);
}

TEST(ShardHeads, EveryShapeAndRankCount) {
  for (int64_t kv_heads = 1; kv_heads <= 16; ++kv_heads) {
    for (int64_t group = 1; group <= 9; ++group) {
      const int ranks_max = static_cast<int>(kv_heads * group);
      for (int size = 1; size <= ranks_max; ++size) {
        ExpectSoundShards(kv_heads * group, kv_heads, size);
        if (HasFatalFailure()) FAIL() << kv_heads << " groups of " << group << " on " << size;
      }
    }
  }
}

TEST(ShardProblem, AllowsOneRankToOnePerQueryHead) {
  for (int size = 1; size <= 9; ++size) EXPECT_EQ(ShardProblem(9, 3, 1536, 49152, size), "");
  EXPECT_EQ(ShardProblem(9, 3, 1536, 49152, 10),
            "cannot split this model over 10 ranks: it has 9 query heads, so 1 to 9 ranks are "
            "allowed");
  EXPECT_NE(ShardProblem(9, 3, 1536, 49152, 0), "");
}

TEST(ShardProblem, NamesWhatRunsOutFirst) {
  EXPECT_EQ(ShardProblem(8, 8, 4, 100, 5),
            "cannot split this model over 5 ranks: it has 4 FFN rows, so 1 to 4 ranks are allowed");
  EXPECT_NE(ShardProblem(8, 8, 100, 3, 4).find("3 vocabulary rows"), std::string::npos);
  EXPECT_EQ(ShardProblem(8, 8, 4, 4, 4), "");
  EXPECT_NE(ShardProblem(9, 2, 100, 100, 1).find("must divide"), std::string::npos);
  EXPECT_NE(ShardProblem(0, 1, 100, 100, 1), "");
  EXPECT_NE(ShardProblem(8, 0, 100, 100, 1), "");
}

TEST(ShardModel, SlicesTileAndTheVocabularyIsPaddedToTheWidest) {
  for (int size = 1; size <= 9; ++size) {
    int64_t ffn = 0;
    int64_t vocab = 0;
    int64_t vocab_widest = 0;
    for (int rank = 0; rank < size; ++rank) {
      const ModelShard shard = ShardModel(9, 3, 1537, 49153, rank, size);
      EXPECT_EQ(shard.rank, rank);
      EXPECT_EQ(shard.size, size);
      EXPECT_EQ(shard.heads, ShardHeads(9, 3, rank, size));
      EXPECT_EQ(shard.ffn.begin, ffn);
      EXPECT_EQ(shard.vocab.begin, vocab);
      ffn = shard.ffn.end();
      vocab = shard.vocab.end();
      vocab_widest = std::max(vocab_widest, shard.vocab.count);
    }
    EXPECT_EQ(ffn, 1537);
    EXPECT_EQ(vocab, 49153);
    for (int rank = 0; rank < size; ++rank) {
      EXPECT_EQ(ShardModel(9, 3, 1537, 49153, rank, size).vocab_local_max, vocab_widest);
    }
  }
}

TEST(ShardDeathTest, RefusesWhatCannotBeSplit) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(ShardHeads(9, 3, 0, 10), "1 to 9 ranks are allowed");
  EXPECT_DEATH(ShardHeads(9, 3, 3, 3), "rank 3 of 3");
  EXPECT_DEATH(ShardModel(8, 8, 4, 100, 0, 5), "4 FFN rows");
}

}  // namespace
}  // namespace tamis
