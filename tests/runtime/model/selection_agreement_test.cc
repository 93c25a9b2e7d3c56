// SPDX-License-Identifier: Apache-2.0
// Agreement over ranks, given equal queries and keys: whatever the number of ranks, the common set
// is the first k of the maximum over all heads, found here by sorting. Ties are the rule.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "runtime/model/llama.h"
#include "tests/support/thread_sanitizer.h"

namespace tamis {
namespace {

constexpr int kCases = kThreadSanitizer ? 500 : 10000;
constexpr int64_t kHeads = 8;  // query heads, one KV head each unless said otherwise
constexpr int64_t kSeqs = 2;
constexpr int64_t kScoresMax = 61;

// One step's scores of every head, and what competes. Made from its number on every rank alike.
struct RandomCase {
  explicit RandomCase(int number);

  int64_t n = 0;
  int64_t k_max = 0;
  std::vector<float> scores;              // [heads, S, n]
  std::vector<int32_t> begins, ends, ks;  // [S]
  float score(int64_t head, int64_t s, int64_t j) const {
    return scores[static_cast<size_t>((head * kSeqs + s) * n + j)];
  }
  std::vector<int32_t> Expected(int64_t s, Slice heads) const;
};

float RandomScore(int style, std::mt19937& random) {
  constexpr float kSpecials[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1.0f};
  switch (style) {
    case 0: return static_cast<float>(random() % 3) - 1.0f;
    case 1: return kSpecials[random() % 6];
    case 2: return 0.25f;
    default: return std::normal_distribution<float>()(random);
  }
}

RandomCase::RandomCase(int number) {
  std::mt19937 random(static_cast<uint32_t>(number));
  n = 1 + static_cast<int64_t>(random() % kScoresMax);
  k_max = 1 + static_cast<int64_t>(random() % 64);
  for (int64_t s = 0; s < kSeqs; ++s) {
    begins.push_back(static_cast<int32_t>(random() % 8));
    ends.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(n + 1)));
    ks.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(k_max + 1)));
  }
  for (int64_t i = 0; i < kHeads * kSeqs * n; ++i) {
    scores.push_back(RandomScore(number % 4, random));
  }
}

std::vector<int32_t> RandomCase::Expected(int64_t s, Slice heads) const {
  const size_t seq = static_cast<size_t>(s);
  std::vector<int32_t> positions;
  for (int32_t j = begins[seq]; j < ends[seq]; ++j) positions.push_back(j);
  std::vector<float> best(static_cast<size_t>(n), NAN);
  for (int32_t j : positions) {
    float& value = best[static_cast<size_t>(j)];
    for (int64_t head = heads.begin; head < heads.end(); ++head) {
      value = std::fmax(value, score(head, s, j));
    }
  }
  std::stable_sort(positions.begin(), positions.end(), [&](int32_t a, int32_t b) {
    const float x = best[static_cast<size_t>(a)];
    const float y = best[static_cast<size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
    return x > y;
  });
  positions.resize(std::min(positions.size(), static_cast<size_t>(ks[seq])));
  std::sort(positions.begin(), positions.end());
  return positions;
}

// One rank: buffers of the largest case, and its share of the heads.
class Selector {
 public:
  Selector(int64_t num_kv_heads, SelectionScope scope, ScoreKind score, Group& group)
      : collectives_(*group.collectives),
        shard_(ShardModel(kHeads, num_kv_heads, kHeads, kHeads, collectives_.rank(),
                          collectives_.size())),
        scope_(scope),
        peers_(PeersOf(scope, shard_, num_kv_heads, score)),
        act_(AllocateActivations(Config(num_kv_heads), shard_, DType::kF32, DeviceKind::kCpu,
                                 Limits(scope, score))),
        scratch_(Buffer(MemoryKind::kCpu,
                        ScratchBytes(Config(num_kv_heads), shard_, DType::kF32, DeviceKind::kCpu,
                                     Limits(scope, score)),
                        "scratch")) {}

  const ModelShard& shard() const { return shard_; }

  // [S * Hs] lists.
  std::vector<std::vector<int32_t>> Select(const RandomCase& c) {
    const SelectionActivations step = SelectionOfStep(act_.selection, kSeqs, c.n, c.k_max);
    const int64_t rows = step.scores.shape[1];
    const Slice heads = shard_.heads.q_heads;
    const int64_t group = heads.count / rows;
    for (int64_t s = 0; s < kSeqs; ++s) {
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t j = 0; j < c.n; ++j) {
          float best = NAN;
          for (int64_t h = row * group; h < (row + 1) * group; ++h) {
            best = std::fmax(best, c.score(heads.begin + h, s, j));
          }
          step.scores.As<float>()[(s * rows + row) * c.n + j] = best;
        }
      }
    }
    const auto ints = [](const std::vector<int32_t>& values) {
      return ConstTensorView(values.data(), {static_cast<int64_t>(values.size())}, DType::kI32,
                             DeviceKind::kCpu);
    };
    const CandidateView candidates{ints(c.begins), ints(c.ends), ints(c.ks)};
    std::fill_n(step.positions.As<int32_t>(), step.positions.elements(), -7);
    SelectOverRanks(step, candidates, peers_, collectives_, scratch_, Stream::Cpu());
    std::vector<std::vector<int32_t>> lists;
    for (int64_t row = 0; row < kSeqs * rows; ++row) {
      const int32_t* first = step.positions.As<int32_t>() + row * c.k_max;
      lists.emplace_back(first, first + step.count.As<int32_t>()[row / rows]);
    }
    return lists;
  }

 private:
  static ModelConfig Config(int64_t num_kv_heads) {
    ModelConfig config;
    config.hidden_size = config.ffn_size = config.vocab_size = kHeads;
    config.num_layers = 2;
    config.num_q_heads = kHeads;
    config.num_kv_heads = num_kv_heads;
    config.head_dim = 2;
    config.max_positions = 64;
    return config;
  }
  static StepLimits Limits(SelectionScope scope, ScoreKind score) {
    return {kSeqs, kSeqs, kSeqs, 0, kScoresMax, {64, scope, score}};
  }

  Collectives& collectives_;
  ModelShard shard_;
  SelectionScope scope_;
  SelectionPeers peers_;
  Activations act_;
  Scratch scratch_;
};

class AgreementTest : public testing::TestWithParam<int> {};

TEST_P(AgreementTest, GlobalSetIsThatOfOneRank) {
  RunLoopback(GetParam(), [](int rank, Group& group) {
    Selector selector(kHeads, SelectionScope::kGlobal, ScoreKind::kRawMax, group);
    for (int number = 0; number < kCases; ++number) {
      const RandomCase c(number);
      const std::vector<std::vector<int32_t>> lists = selector.Select(c);
      for (int64_t s = 0; s < kSeqs; ++s) {
        ASSERT_EQ(lists[static_cast<size_t>(s)], c.Expected(s, {0, kHeads}))
            << "rank " << rank << ", case " << number << ", sequence " << s;
      }
    }
  });
}

TEST_P(AgreementTest, EachRankItsOwn) {
  RunLoopback(GetParam(), [](int rank, Group& group) {
    Selector selector(kHeads, SelectionScope::kRank, ScoreKind::kSoftmaxMax, group);
    for (int number = 0; number < kCases / 10; ++number) {
      const RandomCase c(number);
      const std::vector<std::vector<int32_t>> lists = selector.Select(c);
      for (int64_t s = 0; s < kSeqs; ++s) {
        ASSERT_EQ(lists[static_cast<size_t>(s)], c.Expected(s, selector.shard().heads.q_heads))
            << "rank " << rank << ", case " << number;
      }
    }
  });
}

// Four KV heads of two query heads each: whole heads up to four ranks, shared ones above.
TEST_P(AgreementTest, ReplicasOfAKvHeadAgree) {
  constexpr int64_t kKvHeads = 4;
  RunLoopback(GetParam(), [](int rank, Group& group) {
    Selector selector(kKvHeads, SelectionScope::kKvHead, ScoreKind::kRawMax, group);
    for (int number = 0; number < kCases / 5; ++number) {
      const RandomCase c(number);
      const std::vector<std::vector<int32_t>> lists = selector.Select(c);
      const Slice kv_heads = selector.shard().heads.kv_heads;
      for (int64_t s = 0; s < kSeqs; ++s) {
        for (int64_t h = 0; h < kv_heads.count; ++h) {
          ASSERT_EQ(lists[static_cast<size_t>(s * kv_heads.count + h)],
                    c.Expected(s, {2 * (kv_heads.begin + h), 2}))
              << "rank " << rank << ", case " << number;
        }
      }
    }
  });
}

// Sums of small integers are exact in any order, so that every rank count has the same bits.
TEST_P(AgreementTest, MeansAreReducedBeforeSelecting) {
  RunLoopback(GetParam(), [](int rank, Group& group) {
    Selector selector(kHeads, SelectionScope::kGlobal, ScoreKind::kSoftmaxMean, group);
    Group alone = MakeSelfGroup();
    Selector whole(kHeads, SelectionScope::kGlobal, ScoreKind::kSoftmaxMean, alone);
    const int size = group.collectives->size();
    for (int number = 0; number < kCases; number += 4) {  // style 0: -1, 0 and 1
      RandomCase c(number);
      // A rank's score is its part of the sum; the whole is the sum over ranks.
      RandomCase sums = c;
      for (int64_t s = 0; s < kSeqs; ++s) {
        for (int64_t j = 0; j < c.n; ++j) {
          float sum = 0.0f;
          for (int r = 0; r < size; ++r) {
            const Slice heads = ShardHeads(kHeads, kHeads, r, size).q_heads;
            float best = -INFINITY;
            for (int64_t h = heads.begin; h < heads.end(); ++h)
              best = std::max(best, c.score(h, s, j));
            sum += best;
          }
          for (int64_t h = 0; h < kHeads; ++h) {
            sums.scores[static_cast<size_t>((h * kSeqs + s) * c.n + j)] = sum;
          }
        }
      }
      ASSERT_EQ(selector.Select(c), whole.Select(sums)) << "rank " << rank << ", case " << number;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, AgreementTest, testing::Values(1, 2, 3, 4, 5, 8));

TEST(SelectionBucketTest, PowersOfTwoUpToTheLimit) {
  EXPECT_EQ(SelectionBucket(1, 1000), 64);
  EXPECT_EQ(SelectionBucket(64, 1000), 64);
  EXPECT_EQ(SelectionBucket(65, 1000), 128);
  EXPECT_EQ(SelectionBucket(513, 1000), 1000);
  EXPECT_EQ(SelectionBucket(7, 10), 10);
}

}  // namespace
}  // namespace tamis
