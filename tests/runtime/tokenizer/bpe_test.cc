// SPDX-License-Identifier: Apache-2.0
// Merging against a plain restatement of it, on random merge tables.
#include "runtime/tokenizer/bpe.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>

#include "gtest/gtest.h"

namespace tamis {
namespace {

using Ids = std::vector<int32_t>;

// Bytes a to d are ids 0 to 3, e has no id; every later id joins two earlier ones.
TokenizerSpec RandomSpec(std::mt19937& random, int32_t merges) {
  TokenizerSpec spec;
  spec.byte_ids.fill(-1);
  for (int32_t id = 0; id < 4; ++id) {
    spec.tokens.emplace_back(1, static_cast<char>('a' + id));
    spec.byte_ids[static_cast<size_t>('a' + id)] = id;
  }
  for (int32_t i = 0; i < merges; ++i) {
    std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(spec.tokens.size()) - 1);
    const MergeRule rule{any(random), any(random), static_cast<int32_t>(spec.tokens.size())};
    const bool known = std::any_of(spec.merges.begin(), spec.merges.end(), [&](const auto& other) {
      return other.left == rule.left && other.right == rule.right;
    });
    if (known) continue;
    spec.merges.push_back(rule);
    spec.tokens.push_back(spec.tokens[static_cast<size_t>(rule.left)] +
                          spec.tokens[static_cast<size_t>(rule.right)]);
  }
  spec.is_special.resize(spec.tokens.size());
  return spec;
}

// For each rule by rank as long as one applies: join the leftmost pair of lowest rank.
Ids NaiveMerge(const TokenizerSpec& spec, std::string_view word) {
  Ids ids;
  for (const char c : word) {
    if (const int32_t id = spec.byte_ids[static_cast<uint8_t>(c)]; id >= 0) ids.push_back(id);
  }
  while (true) {
    std::optional<size_t> best;
    size_t at = 0;
    for (size_t rank = 0; rank < spec.merges.size() && !best; ++rank) {
      for (size_t i = 0; i + 1 < ids.size() && !best; ++i) {
        if (ids[i] == spec.merges[rank].left && ids[i + 1] == spec.merges[rank].right) {
          best = rank;
          at = i;
        }
      }
    }
    if (!best) return ids;
    ids[at] = spec.merges[*best].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(BpeTest, AgreesWithNaiveMerging) {
  std::mt19937 random(3);
  for (int table = 0; table < 60; ++table) {
    const TokenizerSpec spec = RandomSpec(random, 1 + table % 30);
    const Bpe bpe(spec);
    // Lengths on both sides of the border between the two algorithms.
    for (const size_t length : {0, 1, 2, 3, 7, 20, 39, 40, 41, 42, 60, 150}) {
      std::string word;
      for (size_t i = 0; i < length; ++i) word += static_cast<char>('a' + random() % 5);
      Ids ids = {-7};
      bpe.Encode(word, ids);
      Ids expected = NaiveMerge(spec, word);
      expected.insert(expected.begin(), -7);
      ASSERT_EQ(ids, expected) << "table " << table << ", word " << word;
    }
  }
}

TEST(BpeTest, BytesWithoutATokenJoinTheirNeighbours) {
  TokenizerSpec spec;
  spec.byte_ids.fill(-1);
  spec.byte_ids['a'] = 0;
  spec.byte_ids['b'] = 1;
  spec.tokens = {"a", "b", "ab"};
  spec.is_special.resize(3);
  spec.merges = {{0, 1, 2}};
  const Bpe bpe(spec);
  for (const size_t gap : {1, 100}) {
    Ids ids;
    bpe.Encode("a" + std::string(gap, 'x') + "b", ids);
    EXPECT_EQ(ids, (Ids{2}));
  }
  Ids none;
  bpe.Encode(std::string(100, 'x'), none);
  EXPECT_TRUE(none.empty());
}

TEST(BpeTest, IgnoreMergesTakesWholeWordsButNoSpecialTokens) {
  TokenizerSpec spec;
  spec.byte_ids.fill(-1);
  spec.byte_ids['a'] = 0;
  spec.tokens = {"a", "aaa", "aa"};
  spec.is_special = {false, false, true};
  Ids with, without, special;
  Bpe(spec).Encode("aaa", without);
  spec.ignore_merges = true;
  Bpe(spec).Encode("aaa", with);
  Bpe(spec).Encode("aa", special);
  EXPECT_EQ(without, (Ids{0, 0, 0}));
  EXPECT_EQ(with, (Ids{1}));
  EXPECT_EQ(special, (Ids{0, 0}));
}

}  // namespace
}  // namespace tamis
