// SPDX-License-Identifier: Apache-2.0
// Attention against its definition, and the bit-for-bit promises of design and ops.h.
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/filter_scores.h"
#include "kernels/ops.h"
#include "tests/kernels/paged_cache.h"

namespace tamis {
namespace {

using testing::CacheSizes;
using testing::FirstPositions;
using testing::kFloatTypes;
using testing::PagedCache;
using testing::TestScratch;
using testing::TestTensor;
using testing::Tolerance;

class AttentionTest : public ::testing::TestWithParam<DType> {
 protected:
  std::mt19937 random_{99};
  Stream cpu_ = Stream::Cpu();
  Scratch scratch_ = TestScratch();

  void ExpectHead(const TestTensor& out, int64_t at, const std::vector<double>& exact) {
    for (size_t d = 0; d < exact.size(); ++d) {
      ASSERT_NEAR(out.At(at + static_cast<int64_t>(d)), exact[d],
                  Tolerance(GetParam(), exact[d], 2e-5))
          << "element " << at << " + " << d;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Types, AttentionTest, ::testing::ValuesIn(kFloatTypes),
                         [](const auto& type) { return DTypeName(type.param); });

TEST_P(AttentionTest, DecodeIsSoftmaxOverTheContext) {
  for (const CacheSizes& sizes : {CacheSizes{2, 3, 20, 16}, CacheSizes{3, 1, 64, 7},
                                  CacheSizes{1, 5, 80, 32}, CacheSizes{2, 2, 6, 1}}) {
    const std::vector<int32_t> contexts = {1, 0, 17, 511, 512, 513, 1300};
    const PagedCache cache(sizes, contexts, GetParam(), random_);
    const auto rows = static_cast<int64_t>(contexts.size());
    const TestTensor wide = TestTensor::Random({rows, sizes.q_width() + 5}, GetParam(), random_);
    const TestTensor out({rows, sizes.q_width()}, GetParam());
    ops::DecodeAttention(out, Columns(wide.view(), 5, sizes.q_width()), cache.pages(),
                         cache.decode(), sizes.scale(), scratch_, cpu_);
    for (int64_t s = 0; s < rows; ++s) {
      for (int64_t h = 0; h < sizes.kv_heads * sizes.group; ++h) {
        const int64_t at = s * (sizes.q_width() + 5) + 5 + h * sizes.head_dim;
        ExpectHead(out, s * sizes.q_width() + h * sizes.head_dim,
                   cache.Attend(wide, at, s, h / sizes.group,
                                FirstPositions(contexts[static_cast<size_t>(s)])));
      }
    }
  }
}

TEST_P(AttentionTest, PrefillIsCausalAndEqualsDecodingRowByRow) {
  const CacheSizes sizes{2, 3, 20, 16};
  const std::vector<int32_t> contexts = {40, 0, 1, 530, 1100};
  const std::vector<int32_t> starts = {0, 40, 40, 41, 71, 128};  // lengths 40, 0, 1, 30, 57
  const PagedCache cache(sizes, contexts, GetParam(), random_);
  const TestTensor q = TestTensor::Random({128, sizes.q_width()}, GetParam(), random_);
  const TestTensor out({128, sizes.q_width()}, GetParam());
  const TestTensor query_starts = TestTensor::Ints(starts);
  const PrefillBatch batch{query_starts, cache.context_lens(), cache.block_table(), 57, 1100};
  ops::PrefillAttention(out, q, cache.pages(), batch, sizes.scale(), scratch_, cpu_);
  for (size_t s = 0; s < contexts.size(); ++s) {
    for (int32_t t = starts[s]; t < starts[s + 1]; ++t) {
      const int32_t attended = contexts[s] - (starts[s + 1] - 1 - t);
      if (t % 7 == 0) {
        const int64_t at = t * sizes.q_width() + (t % 6) * sizes.head_dim;
        ExpectHead(out, at,
                   cache.Attend(q, at, static_cast<int64_t>(s), t % 6 / sizes.group,
                                FirstPositions(attended)));
      }
      const TestTensor one({1, sizes.q_width()}, GetParam());
      const TestTensor context = TestTensor::Ints({attended});
      const DecodeBatch decode{
          context, Rows(cache.block_table().view(), static_cast<int64_t>(s), 1), attended};
      ops::DecodeAttention(one, Rows(q.view(), t, 1), cache.pages(), decode, sizes.scale(),
                           scratch_, cpu_);
      for (int64_t i = 0; i < sizes.q_width(); ++i) {
        ASSERT_EQ(one.At(i), out.At(t * sizes.q_width() + i)) << "row " << t;
      }
    }
  }
}

// A selection of one sequence's positions [sink_end, tail_begin), with its tensors.
struct TestSelection {
  TestSelection(int64_t sequences, int64_t rows, int64_t k_max)
      : positions({sequences, rows, k_max}, DType::kI32),
        count({sequences}, DType::kI32),
        sink_end({sequences}, DType::kI32),
        tail_begin({sequences}, DType::kI32),
        list_rows({sequences, rows, k_max}, DType::kI32) {}
  SelectionView view() const { return {positions, count, sink_end, tail_begin}; }

  TestTensor positions, count, sink_end, tail_begin, list_rows;
};

TEST_P(AttentionTest, ForcedSparseEqualsDenseBitForBit) {
  const CacheSizes sizes{2, 3, 64, 16};
  const std::vector<int32_t> contexts = {1, 600, 0, 1025, 512};
  const PagedCache cache(sizes, contexts, GetParam(), random_);
  const TestTensor q = TestTensor::Random({5, sizes.q_width()}, GetParam(), random_);
  const TestTensor dense({5, sizes.q_width()}, GetParam());
  ops::DecodeAttention(dense, q, cache.pages(), cache.decode(), sizes.scale(), scratch_, cpu_);
  const KvRows rows = RowsOf(cache.pages());
  for (const auto& [sinks, tail] : {std::pair{0, 1}, std::pair{4, 64}, std::pair{300, 300}}) {
    TestSelection selection(5, 1, 1100);
    for (int64_t s = 0; s < 5; ++s) {
      const int32_t n = contexts[static_cast<size_t>(s)];
      const int32_t sink_end = std::min(sinks, n);
      const int32_t tail_begin = std::max(sink_end, n - tail);
      selection.sink_end.SetInt(s, sink_end);
      selection.tail_begin.SetInt(s, tail_begin);
      selection.count.SetInt(s, tail_begin - sink_end);
      for (int32_t p = sink_end; p < tail_begin; ++p) {
        selection.positions.SetInt(s * 1100 + p - sink_end, p);
      }
    }
    ops::RowsOfPositions(selection.list_rows, selection.view(), cache.block_table(),
                         sizes.block_tokens, rows.rows_per_block, cpu_);
    const TestTensor sparse({5, sizes.q_width()}, GetParam());
    ops::GatherAttention(sparse, q, rows, selection.list_rows, selection.view(), cache.decode(),
                         sizes.scale(), scratch_, cpu_);
    EXPECT_EQ(sparse.ToVector(), dense.ToVector());
  }
}

TEST_P(AttentionTest, GatherAttendsToSinksListAndTailOfEachHead) {
  const CacheSizes sizes{2, 2, 20, 16};
  const std::vector<int32_t> contexts = {700, 90};
  const PagedCache cache(sizes, contexts, GetParam(), random_);
  const TestTensor q = TestTensor::Random({2, sizes.q_width()}, GetParam(), random_);
  const KvRows rows = RowsOf(cache.pages());
  for (const int64_t selection_rows : {1, 2}) {
    TestSelection selection(2, selection_rows, 580);
    std::vector<std::vector<int32_t>> attended;
    for (int64_t s = 0; s < 2; ++s) {
      const int32_t n = contexts[static_cast<size_t>(s)];
      const int32_t count = s == 0 ? 577 : 3;
      selection.count.SetInt(s, count);
      selection.sink_end.SetInt(s, 3);
      selection.tail_begin.SetInt(s, n - 20);
      for (int64_t h = 0; h < selection_rows; ++h) {
        std::vector<int32_t> middle(static_cast<size_t>(n - 23));
        std::iota(middle.begin(), middle.end(), 3);
        std::shuffle(middle.begin(), middle.end(), random_);
        middle.resize(static_cast<size_t>(count));
        std::sort(middle.begin(), middle.end());
        for (size_t i = 0; i < middle.size(); ++i) {
          selection.positions.SetInt((s * selection_rows + h) * 580 + static_cast<int64_t>(i),
                                     middle[i]);
        }
        std::vector<int32_t> all = {0, 1, 2};
        all.insert(all.end(), middle.begin(), middle.end());
        for (int32_t p = n - 20; p < n; ++p) all.push_back(p);
        attended.push_back(all);
      }
    }
    ops::RowsOfPositions(selection.list_rows, selection.view(), cache.block_table(),
                         sizes.block_tokens, rows.rows_per_block, cpu_);
    const TestTensor out({2, sizes.q_width()}, GetParam());
    ops::GatherAttention(out, q, rows, selection.list_rows, selection.view(), cache.decode(),
                         sizes.scale(), scratch_, cpu_);
    for (int64_t s = 0; s < 2; ++s) {
      for (int64_t h = 0; h < 4; ++h) {
        const int64_t at = s * sizes.q_width() + h * sizes.head_dim;
        const int64_t row = s * selection_rows + (selection_rows > 1 ? h / 2 : 0);
        ExpectHead(out, at, cache.Attend(q, at, s, h / 2, attended[static_cast<size_t>(row)]));
      }
    }
  }
}

TEST_P(AttentionTest, ARowDoesNotDependOnTheRestOfTheBatch) {
  const CacheSizes sizes{2, 3, 64, 16};
  const std::vector<int32_t> contexts = {700, 3, 1200};
  const PagedCache cache(sizes, contexts, GetParam(), random_);
  const TestTensor q = TestTensor::Random({3, sizes.q_width()}, GetParam(), random_);
  const TestTensor all({3, sizes.q_width()}, GetParam());
  ops::DecodeAttention(all, q, cache.pages(), cache.decode(), sizes.scale(), scratch_, cpu_);
  const TestTensor one({1, sizes.q_width()}, GetParam());
  const DecodeBatch batch{Rows(cache.context_lens().view(), 2, 1),
                          Rows(cache.block_table().view(), 2, 1), 1200};
  ops::DecodeAttention(one, Rows(q.view(), 2, 1), cache.pages(), batch, sizes.scale(), scratch_,
                       cpu_);
  for (int64_t i = 0; i < sizes.q_width(); ++i) {
    EXPECT_EQ(one.At(i), all.At(2 * sizes.q_width() + i));
  }
}

struct FilterCase {
  ScoreKind kind;
  ops::LseScope scope;
  int64_t rows;
};

double ExactScore(const PagedCache& cache, const TestTensor& q, const CacheSizes& sizes, int64_t s,
                  int32_t position, int64_t row, const FilterCase& filter,
                  const std::vector<double>& lse) {
  const int64_t heads = sizes.kv_heads * sizes.group;
  const int64_t first = filter.rows > 1 ? row * sizes.group : 0;
  const int64_t last = filter.rows > 1 ? first + sizes.group : heads;
  double score = filter.kind == ScoreKind::kSoftmaxMean ? 0.0 : -1e300;
  for (int64_t h = first; h < last; ++h) {
    const double logit =
        cache.Logit(q, s * sizes.q_width() + h * sizes.head_dim, s, position, h / sizes.group);
    const double log_p = logit - lse[static_cast<size_t>(h)];
    switch (filter.kind) {
      case ScoreKind::kRawMax: score = std::max(score, logit); break;
      case ScoreKind::kSoftmaxMax: score = std::max(score, log_p); break;
      case ScoreKind::kSoftmaxMean: score += std::exp(log_p); break;
      default: ADD_FAILURE() << "window scores have a test of their own";
    }
  }
  return score;
}

TEST_P(AttentionTest, FilterScoresCandidatesAndAttendsAsDecode) {
  const CacheSizes sizes{2, 2, 20, 16};
  const std::vector<int32_t> contexts = {700, 90, 0, 40};
  const PagedCache cache(sizes, contexts, GetParam(), random_);
  const TestTensor q = TestTensor::Random({4, sizes.q_width()}, GetParam(), random_);
  const TestTensor dense({4, sizes.q_width()}, GetParam());
  ops::DecodeAttention(dense, q, cache.pages(), cache.decode(), sizes.scale(), scratch_, cpu_);
  const std::vector<int32_t> begins = {4, 0, 0, 9}, ends = {650, 89, 0, 5};
  const TestTensor begin = TestTensor::Ints(begins), end = TestTensor::Ints(ends);
  const TestTensor k = TestTensor::Ints({8, 8, 8, 8});
  const CandidateView candidates{begin, end, k};
  using enum ScoreKind;
  using enum ops::LseScope;
  for (const FilterCase& filter :
       {FilterCase{kRawMax, kAll, 1}, FilterCase{kRawMax, kAll, 2},
        FilterCase{kSoftmaxMax, kAll, 1}, FilterCase{kSoftmaxMax, kCandidates, 1},
        FilterCase{kSoftmaxMax, kAll, 2}, FilterCase{kSoftmaxMean, kAll, 1},
        FilterCase{kSoftmaxMean, kCandidates, 2}}) {
    const TestTensor out({4, sizes.q_width()}, GetParam());
    const TestTensor scores({4, filter.rows, 710}, DType::kF32);
    ops::FilterAttention(out, scores, q, cache.pages(), cache.decode(), candidates, filter.kind,
                         filter.scope, sizes.scale(), scratch_, cpu_);
    EXPECT_EQ(out.ToVector(), dense.ToVector());
    const TestTensor alone({4, filter.rows, 710}, DType::kF32);
    ops::FilterScores(alone, q, cache.pages(), cache.decode(), candidates, filter.kind,
                      filter.scope, sizes.scale(), scratch_, cpu_);
    for (int64_t s = 0; s < 4; ++s) {
      const auto i = static_cast<size_t>(s);
      std::vector<double> lse;
      for (int64_t h = 0; h < sizes.kv_heads * sizes.group; ++h) {
        double sum = 0.0;
        for (int32_t p = 0; p < contexts[i]; ++p) {
          if (filter.scope == kCandidates && (p < begins[i] || p >= ends[i])) continue;
          sum += std::exp(
              cache.Logit(q, s * sizes.q_width() + h * sizes.head_dim, s, p, h / sizes.group));
        }
        lse.push_back(std::log(sum));
      }
      for (int64_t row = 0; row < filter.rows; ++row) {
        for (int32_t p = begins[i]; p < ends[i]; ++p) {
          ASSERT_NEAR(scores.At((s * filter.rows + row) * 710 + p),
                      ExactScore(cache, q, sizes, s, p, row, filter, lse), 2e-5)
              << "sequence " << s << ", position " << p;
          ASSERT_EQ(alone.At((s * filter.rows + row) * 710 + p),
                    scores.At((s * filter.rows + row) * 710 + p));
        }
      }
    }
  }
}

TEST(AttentionDeathTest, BrokenSelectionsAndContextsDie) {
  std::mt19937 random(1);
  const CacheSizes sizes{1, 1, 16, 16};
  const PagedCache cache(sizes, {20}, DType::kF32, random);
  const TestTensor q = TestTensor::Random({1, 16}, DType::kF32, random);
  const TestTensor out({1, 16}, DType::kF32);
  Scratch scratch = TestScratch();
  TestSelection selection(1, 1, 4);
  selection.count.SetInt(0, 2);
  selection.sink_end.SetInt(0, 10);
  selection.tail_begin.SetInt(0, 11);
  EXPECT_DEATH(ops::GatherAttention(out, q, RowsOf(cache.pages()), selection.list_rows,
                                    selection.view(), cache.decode(), 1.0f, scratch, Stream::Cpu()),
               "sinks to 10, 2 listed, tail from 11 of 20");
  DecodeBatch batch = cache.decode();
  const TestTensor context = TestTensor::Ints({33});
  batch.context_lens = context;
  EXPECT_DEATH(ops::DecodeAttention(out, q, cache.pages(), batch, 1.0f, scratch, Stream::Cpu()),
               "context 33");
}

}  // namespace
}  // namespace tamis
