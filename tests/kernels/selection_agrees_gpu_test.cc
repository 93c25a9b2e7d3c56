// SPDX-License-Identifier: Apache-2.0
// The ops of selection on the GPU against the CPU, the specification: equal scores give equal sets.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/filter_scores.h"
#include "kernels/ops.h"
#include "tests/kernels/backends_agree.h"
#include "tests/kernels/paged_twins.h"
#include "tests/kernels/twins.h"

namespace tamis {
namespace {

using SelectionAgrees = BackendsAgree;

struct CandidateTwins {
  Twin begin, end, k;
  CandidateView On(DeviceKind d) const { return {begin.On(d), end.On(d), k.On(d)}; }
};

TEST_F(SelectionAgrees, FilterAttention) {
  for (const DType dtype : kFloatTypes) {
    for (const HeadShape& heads : kHeadShapes) {
      for (const ScoreKind kind :
           {ScoreKind::kRawMax, ScoreKind::kSoftmaxMax, ScoreKind::kSoftmaxMean}) {
        for (const int64_t selection_heads : {int64_t{1}, heads.kv}) {
          const auto lse_scope =
              dtype == DType::kF16 ? ops::LseScope::kCandidates : ops::LseScope::kAll;
          SCOPED_TRACE(testing::Message() << DTypeName(dtype) << ' ' << heads << " kind "
                                          << static_cast<int>(kind) << " Hs " << selection_heads);
          Twins twins(10);
          PagedTwins paged(twins, heads, dtype, {600, 0, 1300, 20}, 1400);
          const CandidateTwins candidates = {twins.Ints({4}, {4, 0, 0, 20}),
                                             twins.Ints({4}, {590, 0, 1300, 20}),
                                             twins.Ints({4}, {10, 0, 10, 0})};
          const Twin q = twins.Normal({4, heads.q * heads.dim}, dtype);
          const Twin out = twins.Poisoned({4, heads.q * heads.dim}, dtype);
          const Twin scores = twins.Poisoned({4, selection_heads, 1500}, DType::kF32);
          twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
            ops::FilterAttention(out.On(d), scores.On(d), q.On(d), paged.Pages(d), paged.Decode(d),
                                 candidates.On(d), kind, lse_scope, heads.Scale(), scratch, stream);
          });
          ExpectAttention(twins, out);
          twins.ExpectNear(scores, "scores", 1e-5, 1e-5);
          const Twin alone = twins.Poisoned({4, selection_heads, 1500}, DType::kF32);
          twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
            ops::FilterScores(alone.On(d), q.On(d), paged.Pages(d), paged.Decode(d),
                              candidates.On(d), kind, lse_scope, heads.Scale(), scratch, stream);
          });
          twins.ExpectNear(alone, "scores alone", 1e-5, 1e-5);
        }
      }
    }
  }
}

TEST_F(SelectionAgrees, GatherAttention) {
  for (const DType dtype : kFloatTypes) {
    for (const HeadShape& heads : kHeadShapes) {
      for (const int64_t selection_heads : {int64_t{1}, heads.kv}) {
        SCOPED_TRACE(testing::Message()
                     << DTypeName(dtype) << ' ' << heads << " Hs " << selection_heads);
        Twins twins(11);
        const int64_t k_max = 700;
        PagedTwins paged(twins, heads, dtype, {2000, 0, 300, 900}, 2100);
        // Every third position between sinks and tail; the third sequence decodes densely.
        const std::vector<int32_t> count = {600, 0, 0, 1};
        std::vector<int32_t> positions(static_cast<size_t>(4 * selection_heads * k_max), -1);
        for (size_t s = 0; s < 4; ++s) {
          for (size_t h = 0; h < static_cast<size_t>(selection_heads); ++h) {
            for (size_t i = 0; i < static_cast<size_t>(count[s]); ++i) {
              positions[(s * static_cast<size_t>(selection_heads) + h) *
                            static_cast<size_t>(k_max) +
                        i] = static_cast<int32_t>(4 + 3 * i + h % 3);
            }
          }
        }
        const Twin listed = twins.Ints({4, selection_heads, k_max}, positions);
        const Twin counts = twins.Ints({4}, count);
        const Twin sink_end = twins.Ints({4}, {4, 0, 0, 4});
        const Twin tail_begin = twins.Ints({4}, {1900, 0, 0, 899});
        const Twin list_rows = twins.Poisoned({4, selection_heads, k_max}, DType::kI32);
        const Twin q = twins.Normal({4, heads.q * heads.dim}, dtype);
        const Twin out = twins.Poisoned({4, heads.q * heads.dim}, dtype);
        twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
          const SelectionView selection = {listed.On(d), counts.On(d), sink_end.On(d),
                                           tail_begin.On(d)};
          const KvRows rows = RowsOf(paged.Pages(d));
          ops::RowsOfPositions(list_rows.On(d), selection, paged.Decode(d).block_table,
                               rows.block_tokens, rows.rows_per_block, stream);
          ops::GatherAttention(out.On(d), q.On(d), rows, list_rows.On(d), selection,
                               paged.Decode(d), heads.Scale(), scratch, stream);
        });
        twins.ExpectSame(list_rows, "list_rows");
        ExpectAttention(twins, out);
      }
    }
  }
}

TEST_F(SelectionAgrees, TopKAndMergeTopK) {
  for (const bool with_ties : {false, true}) {
    for (const int64_t k_max : {1, 33, 2048}) {
      SCOPED_TRACE(testing::Message() << "k_max " << k_max << " ties " << with_ties);
      Twins twins(12);
      const int64_t n_max = 9000, heads = 2, ranks = 3, rows = 4 * heads;
      const auto k = static_cast<int32_t>(k_max);
      const CandidateTwins candidates = {twins.Ints({4}, {4, 0, 100, 50}),
                                         twins.Ints({4}, {8990, 20, 4096, 50}),
                                         twins.Ints({4}, {k, std::min(k, 30), k, k})};
      std::vector<Twin> lists, list_scores;
      for (int64_t w = 0; w < ranks; ++w) {
        const std::vector<int32_t> coarse = twins.Draw(rows * n_max, -4, 4);
        const Twin smooth = twins.Normal({4, heads, n_max}, DType::kF32);
        const Twin tied = twins.Floats({4, heads, n_max}, DType::kF32, [&](int64_t i) {
          const int32_t value = coarse[static_cast<size_t>(i)];
          return value == 4 ? NAN : value == 0 ? -0.0f : static_cast<float>(value);
        });
        const Twin& scores = with_ties ? tied : smooth;
        lists.push_back(twins.Poisoned({4, heads, k_max}, DType::kI32));
        list_scores.push_back(twins.Poisoned({4, heads, k_max}, DType::kF32));
        const Twin count = twins.Poisoned({4}, DType::kI32);
        twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
          ops::TopK(lists.back().On(d), list_scores.back().On(d), count.On(d), scores.On(d),
                    candidates.On(d), scratch, stream);
        });
        twins.ExpectSame(lists.back(), "positions");
        twins.ExpectNear(list_scores.back(), "top_scores", 0, 0);
        twins.ExpectSame(count, "count");
      }
      // What an all-gather would put side by side.
      std::vector<int32_t> all_positions;
      std::vector<float> all_scores;
      for (size_t w = 0; w < lists.size(); ++w) {
        const auto* positions = lists[w].cpu.As<int32_t>();
        const auto* scores = list_scores[w].cpu.As<float>();
        all_positions.insert(all_positions.end(), positions, positions + rows * k_max);
        all_scores.insert(all_scores.end(), scores, scores + rows * k_max);
      }
      const Twin gathered = twins.Ints({ranks, rows * k_max}, all_positions);
      const Twin gathered_scores = twins.Floats({ranks, rows * k_max}, DType::kF32, [&](int64_t i) {
        return all_scores[static_cast<size_t>(i)];
      });
      const Twin merged = twins.Poisoned({4, heads, k_max}, DType::kI32);
      const Twin count = twins.Poisoned({4}, DType::kI32);
      twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
        ops::MergeTopK(merged.On(d), count.On(d), gathered.On(d), gathered_scores.On(d),
                       candidates.On(d), scratch, stream);
      });
      twins.ExpectSame(merged, "merged");
      twins.ExpectSame(count, "count");
    }
  }
}

// Scores of the kinds that a selection could stumble over, by position.
struct ScoreShape {
  const char* name;
  std::function<float(int64_t, float)> of;  // (position, standard normal) to score
};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
const ScoreShape kScoreShapes[] = {
    {"normal", [](int64_t, float x) { return x; }},
    {"far from zero, close together", [](int64_t, float x) { return 100.0f + 0.01f * x; }},
    {"negative", [](int64_t, float x) { return -20.0f + 3.0f * x; }},
    {"tiny and wide", [](int64_t, float x) { return std::exp(8.0f * x - 30.0f); }},
    {"nine values", [](int64_t, float x) { return std::round(2.0f * x) / 2.0f; }},
    {"all equal", [](int64_t, float) { return -0.0f; }},
    {"all NaN", [](int64_t, float) { return NAN; }},
    {"few numbers", [](int64_t i, float x) { return i % 97 == 0 ? x : NAN; }},
    {"many infinities", [](int64_t i, float x) { return i % 3 == 0 ? x : -kInfinity; }},
    {"one hot region", [](int64_t i, float x) { return i / 6000 == 3 ? 9.0f + x : x; }},
    {"ascending", [](int64_t i, float) { return static_cast<float>(i); }},
    {"descending", [](int64_t i, float) { return -static_cast<float>(i); }},
};

struct TopKCase {
  int64_t sequences, heads, n_max, k_max;
  int32_t length;
};

TEST_F(SelectionAgrees, TopKOfManyPieces) {
  const TopKCase cases[] = {{1, 1, 131072, 2048, 131052}, {1, 1, 1 << 20, 2048, 70001},
                            {1, 1, 300000, 2048, 300000}, {3, 2, 40000, 512, 39000},
                            {40, 4, 5000, 64, 4990},      {1, 1, 131072, 20000, 131072},
                            {2, 1, 9000, 9000, 8192}};
  for (const TopKCase& c : cases) {
    for (const ScoreShape& shape : kScoreShapes) {
      SCOPED_TRACE(testing::Message() << shape.name << ", " << c.sequences << " x " << c.heads
                                      << " rows of " << c.length << ", k " << c.k_max);
      Twins twins(21);
      // Sequences differ in length and in k; the bound of the length may be far above all.
      std::vector<int32_t> begin, end, k;
      for (int32_t s = 0; s < c.sequences; ++s) {
        begin.push_back(s % 5);
        end.push_back(std::max(begin.back(), c.length - 131 * s));
        k.push_back(static_cast<int32_t>(c.k_max) >> (s % 3));
      }
      const CandidateTwins candidates = {twins.Ints({c.sequences}, begin),
                                         twins.Ints({c.sequences}, end),
                                         twins.Ints({c.sequences}, k)};
      std::mt19937 random(22);
      std::normal_distribution<float> normal;
      const auto score_of = [&](int64_t i) {
        return i % c.n_max < c.length ? shape.of(i % c.n_max, normal(random)) : kInfinity;
      };
      const Twin scores = twins.Floats({c.sequences, c.heads, c.n_max}, DType::kF32, score_of);
      const Twin positions = twins.Poisoned({c.sequences, c.heads, c.k_max}, DType::kI32);
      const Twin top_scores = twins.Poisoned({c.sequences, c.heads, c.k_max}, DType::kF32);
      const Twin count = twins.Poisoned({c.sequences}, DType::kI32);
      twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
        ops::TopK(positions.On(d), top_scores.On(d), count.On(d), scores.On(d), candidates.On(d),
                  scratch, stream);
      });
      twins.ExpectSame(positions, "positions");
      twins.ExpectNear(top_scores, "top_scores", 0, 0);
      twins.ExpectSame(count, "count");
    }
  }
}

// Rows that are combined at once (of quarter chunks or whole ones) beside rows that are not, dense
// ones beside sparse ones, groups of 4 heads and of 16.
TEST_F(SelectionAgrees, GatherAttentionOfLongRows) {
  for (const HeadShape& heads : {HeadShape{8, 2, 128, 16}, HeadShape{16, 1, 64, 16}}) {
    SCOPED_TRACE(testing::Message() << heads);
    Twins twins(23);
    const int64_t k_max = 5000;
    PagedTwins paged(twins, heads, DType::kBF16, {20000, 0, 4097, 9000, 4096}, 21000);
    const std::vector<int32_t> count = {0, 0, 1980, 5000, 4028};
    std::vector<int32_t> positions;
    for (const int32_t n : count) {
      for (int32_t i = 0; i < k_max; ++i) positions.push_back(i < n ? 4 + i : -1);
    }
    const Twin listed = twins.Ints({5, 1, k_max}, positions);
    const Twin counts = twins.Ints({5}, count);
    const Twin sink_end = twins.Ints({5}, {0, 0, 4, 4, 4});
    const Twin tail_begin = twins.Ints({5}, {0, 0, 4033, 8936, 4032});
    const Twin list_rows = twins.Poisoned({5, 1, k_max}, DType::kI32);
    const Twin q = twins.Normal({5, heads.q * heads.dim}, DType::kBF16);
    const Twin out = twins.Poisoned({5, heads.q * heads.dim}, DType::kBF16);
    twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
      const SelectionView selection = {listed.On(d), counts.On(d), sink_end.On(d),
                                       tail_begin.On(d)};
      const KvRows rows = RowsOf(paged.Pages(d));
      ops::RowsOfPositions(list_rows.On(d), selection, paged.Decode(d).block_table,
                           rows.block_tokens, rows.rows_per_block, stream);
      ops::GatherAttention(out.On(d), q.On(d), rows, list_rows.On(d), selection, paged.Decode(d),
                           heads.Scale(), scratch, stream);
    });
    ExpectAttention(twins, out);
  }
}

TEST_F(SelectionAgrees, DecodeAttentionOfLongRows) {
  for (const HeadShape& heads : {HeadShape{8, 2, 128, 16}, HeadShape{16, 1, 64, 16}}) {
    SCOPED_TRACE(testing::Message() << heads);
    Twins twins(24);
    PagedTwins paged(twins, heads, DType::kBF16, {20000, 0, 4096, 4097, 16384, 1}, 21000);
    const Twin q = twins.Normal({6, heads.q * heads.dim}, DType::kBF16);
    const Twin out = twins.Poisoned({6, heads.q * heads.dim}, DType::kBF16);
    twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
      ops::DecodeAttention(out.On(d), q.On(d), paged.Pages(d), paged.Decode(d), heads.Scale(),
                           scratch, stream);
    });
    ExpectAttention(twins, out);
  }
}

// As DecodeAttentionOfManyShortRows, with scores, and with keys alone.
TEST_F(SelectionAgrees, FilterAttentionOfManyShortRows) {
  const HeadShape heads{32, 8, 128, 16};
  const std::vector<int32_t> contexts = ManyShortRows();
  const auto sequences = static_cast<int64_t>(contexts.size());
  Twins twins(26);
  PagedTwins paged(twins, heads, DType::kBF16, contexts, 512);
  const std::vector<int32_t> begin(contexts.size(), 0), k(contexts.size(), 10);
  const CandidateTwins candidates = {twins.Ints({sequences}, begin),
                                     twins.Ints({sequences}, contexts), twins.Ints({sequences}, k)};
  const Twin q = twins.Normal({sequences, heads.q * heads.dim}, DType::kBF16);
  const Twin out = twins.Poisoned({sequences, heads.q * heads.dim}, DType::kBF16);
  const Twin scores = twins.Poisoned({sequences, 1, 512}, DType::kF32);
  const Twin alone = twins.Poisoned({sequences, 1, 512}, DType::kF32);
  twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
    ops::FilterAttention(out.On(d), scores.On(d), q.On(d), paged.Pages(d), paged.Decode(d),
                         candidates.On(d), ScoreKind::kRawMax, ops::LseScope::kAll, heads.Scale(),
                         scratch, stream);
    ops::FilterScores(alone.On(d), q.On(d), paged.Pages(d), paged.Decode(d), candidates.On(d),
                      ScoreKind::kRawMax, ops::LseScope::kAll, heads.Scale(), scratch, stream);
  });
  ExpectAttention(twins, out);
  twins.ExpectNear(scores, "scores", 1e-5, 1e-5);
  twins.ExpectNear(alone, "scores alone", 1e-5, 1e-5);
}

// Rows that are cut into chunks of every size, and many pieces of scores.
TEST_F(SelectionAgrees, FilterAttentionOfLongRows) {
  const HeadShape heads{16, 16, 64, 16};
  Twins twins(25);
  PagedTwins paged(twins, heads, DType::kBF16, {33000, 17000, 16383, 4096, 0}, 33100);
  const CandidateTwins candidates = {twins.Ints({5}, {4, 3, 0, 1, 0}),
                                     twins.Ints({5}, {32936, 17000, 16383, 4000, 0}),
                                     twins.Ints({5}, {10, 10, 10, 10, 0})};
  const Twin q = twins.Normal({5, heads.q * heads.dim}, DType::kBF16);
  for (const ScoreKind kind :
       {ScoreKind::kRawMax, ScoreKind::kSoftmaxMax, ScoreKind::kSoftmaxMean}) {
    SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind));
    const Twin out = twins.Poisoned({5, heads.q * heads.dim}, DType::kBF16);
    const Twin scores = twins.Poisoned({5, 1, 33101}, DType::kF32);
    const Twin alone = twins.Poisoned({5, 1, 33101}, DType::kF32);
    twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
      ops::FilterAttention(out.On(d), scores.On(d), q.On(d), paged.Pages(d), paged.Decode(d),
                           candidates.On(d), kind, ops::LseScope::kAll, heads.Scale(), scratch,
                           stream);
      ops::FilterScores(alone.On(d), q.On(d), paged.Pages(d), paged.Decode(d), candidates.On(d),
                        kind, ops::LseScope::kAll, heads.Scale(), scratch, stream);
    });
    ExpectAttention(twins, out);
    twins.ExpectNear(scores, "scores", 1e-5, 1e-5);
    twins.ExpectNear(alone, "scores alone", 1e-5, 1e-5);
  }
}

}  // namespace
}  // namespace tamis
