// SPDX-License-Identifier: Apache-2.0
// Sparse decoding of a small model: what equals dense decoding bit for bit, what any rank count
// must select, and the debugging check, in every combination of settings.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <map>
#include <numeric>
#include <random>
#include <tuple>

#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "runtime/model/selection_check.h"
#include "tests/runtime/model/greedy.h"
#include "tests/support/thread_sanitizer.h"

namespace tamis {
namespace {

constexpr uint64_t kSeed = 99;
constexpr int kSteps = kThreadSanitizer ? 3 : 8;
constexpr int64_t kPromptLens[] = {70, 41, 95};

ModelConfig Model() {
  ModelConfig config = SmallRandomModel();  // 9 query heads in 3 groups
  config.num_layers = 6;
  return config;
}

// Filters 0 and 2: segments {1} and {3, 4, 5}.
SelectionConfig Settings() {
  SelectionConfig config;
  config.filter_layers = {0, 2};
  config.min_context = 0;
  config.sink_tokens = 3;
  config.recent_tokens = 8;
  config.budget = {30, 0.0};
  return config;
}

struct FilterRecord {
  Slice kv_heads;                           // of the rank that recorded it
  std::vector<std::vector<int32_t>> lists;  // [S * Hs]
  std::vector<std::vector<float>> scores;   // [S * Hs], of this rank's heads
};

struct Recording {
  std::vector<std::vector<float>> logits;  // [steps], all rows of a step
  std::vector<FilterRecord> filters;       // [steps * filter layers]
};

// How the decoding rows of a run select; the prompts are kPromptLens, the tokens random but fixed.
struct Modes {
  SelectionMode of[std::size(kPromptLens)] = {SelectionMode::kOn, SelectionMode::kOn,
                                              SelectionMode::kOn};
};

FilterRecord RecordOf(const FilterOutcome& outcome, Slice kv_heads) {
  FilterRecord record{kv_heads, {}, {}};
  const ConstTensorView& positions = outcome.selection.positions;
  const int64_t score_len = outcome.scores.shape[2];
  for (int64_t row = 0; row < positions.shape[0] * positions.shape[1]; ++row) {
    const int32_t* first = positions.As<int32_t>() + row * positions.shape[2];
    const int32_t count = outcome.selection.count.As<int32_t>()[row / positions.shape[1]];
    record.lists.emplace_back(first, first + count);
    const float* scores = outcome.scores.As<float>() + row * score_len;
    record.scores.emplace_back(scores, scores + score_len);
  }
  return record;
}

// Prefills all prompts, then decodes them as one batch of known tokens. `check` also runs the
// debugging check.
Recording Decode(const SelectionConfig& selection, const Modes& modes, Group& group,
                 bool check = false) {
  const ModelConfig model = Model();
  const ModelShard shard = ShardOf(model, group.collectives->rank(), group.collectives->size());
  ModelHarness harness(model, shard, DummyWeights(model, shard, kSeed), *group.collectives,
                       {.num_tokens_max = 256}, selection);
  Recording recording;
  const SelectionObserver checker = MakeSelectionCheck(*group.control);
  harness.Observe([&](const FilterOutcome& outcome, const Stream& stream) {
    recording.filters.push_back(RecordOf(outcome, shard.heads.kv_heads));
    if (check) checker(outcome, stream);
  });
  std::mt19937 random(5);
  std::vector<TestSequence> sequences(std::size(kPromptLens));
  std::vector<TestWork> work;
  for (size_t i = 0; i < sequences.size(); ++i) {
    sequences[i].tokens.resize(static_cast<size_t>(kPromptLens[i] + kSteps));
    for (int32_t& token : sequences[i].tokens) {
      token = static_cast<int32_t>(random() % static_cast<uint32_t>(model.vocab_size));
    }
    sequences[i].slot = static_cast<int32_t>(i);
    work.push_back({&sequences[i], kPromptLens[i]});
  }
  harness.Run(work);
  for (int step = 0; step < kSteps; ++step) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      work[i] = {.sequence = &sequences[i], .num_tokens = 1, .decode = true};
      work[i].selection = PlanSelection(selection, modes.of[i], selection.budget,
                                        sequences[i].num_cached + 1, kPromptLens[i]);
    }
    const ConstTensorView logits = harness.Run(work);
    recording.logits.emplace_back(logits.As<float>(), logits.As<float>() + logits.elements());
  }
  return recording;
}

Recording DecodeAlone(const SelectionConfig& selection, const Modes& modes = {}) {
  Group alone = MakeSelfGroup();
  return Decode(selection, modes, alone);
}

// Of one row of the batch, at every step.
std::vector<std::vector<float>> RowAt(const Recording& recording, size_t row) {
  std::vector<std::vector<float>> rows;
  for (const std::vector<float>& step : recording.logits) {
    const size_t vocab = step.size() / std::size(kPromptLens);
    const auto first = step.begin() + static_cast<int64_t>(row * vocab);
    rows.emplace_back(first, first + static_cast<int64_t>(vocab));
  }
  return rows;
}

TEST(SelectionForwardTest, ForceSparseIsDenseBitForBit) {
  for (const auto scope :
       {SelectionScope::kGlobal, SelectionScope::kRank, SelectionScope::kKvHead}) {
    SelectionConfig forced = Settings();
    forced.scope = scope;
    forced.force_sparse = true;
    SelectionConfig selected = forced;
    selected.filter_attends = FilterAttends::kSelected;
    for (int size = 1; size <= 5; ++size) {
      if (!TestsRankCount(size)) continue;
      RunLoopback(size, [&](int rank, Group& group) {
        const Recording dense = Decode({}, {}, group);
        const Recording sparse = Decode(forced, {}, group);
        EXPECT_EQ(Decode(selected, {}, group).logits, dense.logits) << rank << " of " << size;
        EXPECT_EQ(sparse.filters.size(), size_t{2 * kSteps}) << "it went through the ops";
        EXPECT_EQ(sparse.logits, dense.logits) << "rank " << rank << " of " << size;
      });
    }
  }
}

TEST(SelectionForwardTest, SparseIsNotDense) {
  const Recording dense = DecodeAlone({});
  const Recording sparse = DecodeAlone(Settings());
  for (size_t row = 0; row < std::size(kPromptLens); ++row) {
    EXPECT_NE(RowAt(sparse, row), RowAt(dense, row));
  }
}

// Up to the first filter layer nothing depends on what filter layers attend to, so it selects the
// same; what it attends to then changes all that follows.
TEST(SelectionForwardTest, FilterLayersMayAttendToTheirSelection) {
  SelectionConfig config = Settings();
  const Recording dense = DecodeAlone(config);
  config.filter_attends = FilterAttends::kSelected;
  const Recording selected = DecodeAlone(config);
  ASSERT_EQ(selected.filters.size(), dense.filters.size());
  EXPECT_EQ(selected.filters[0].lists, dense.filters[0].lists);
  EXPECT_EQ(selected.filters[0].scores, dense.filters[0].scores);
  for (size_t row = 0; row < std::size(kPromptLens); ++row) {
    EXPECT_NE(RowAt(selected, row), RowAt(dense, row));
  }
}

TEST(SelectionForwardTest, CoveredOrShortSequencesAreDenseBitForBit) {
  const Recording dense = DecodeAlone({});
  SelectionConfig config = Settings();
  config.budget = {120, 0.0};  // covers the longest
  EXPECT_EQ(DecodeAlone(config).logits, dense.logits);
  EXPECT_TRUE(DecodeAlone(config).filters.empty());
  config = Settings();
  config.min_context = 104;
  const Modes automatic{{SelectionMode::kAuto, SelectionMode::kAuto, SelectionMode::kAuto}};
  EXPECT_EQ(DecodeAlone(config, automatic).logits, dense.logits);
  EXPECT_NE(DecodeAlone(config).logits, dense.logits) << "mode on ignores min_context";
}

TEST(SelectionForwardTest, RowsOfAMixedBatchDoNotTouchEachOther) {
  for (const auto scope : {SelectionScope::kGlobal, SelectionScope::kKvHead}) {
    SelectionConfig config = Settings();
    config.scope = scope;
    if (scope == SelectionScope::kKvHead) config.filter_attends = FilterAttends::kSelected;
    RunLoopback(2, [&](int, Group& group) {
      const auto off = SelectionMode::kOff;
      const auto on = SelectionMode::kOn;
      const Recording dense = Decode({}, {}, group);
      const Recording sparse = Decode(config, {}, group);
      const Recording mixed = Decode(config, {{off, on, off}}, group);
      EXPECT_EQ(RowAt(mixed, 0), RowAt(dense, 0));
      EXPECT_EQ(RowAt(mixed, 1), RowAt(sparse, 1));
      EXPECT_EQ(RowAt(mixed, 2), RowAt(dense, 2));
    });
  }
}

TEST(SelectionForwardTest, ListsAreAscendingUnforcedAndFull) {
  const SelectionConfig config = Settings();
  const Recording recording = DecodeAlone(config);
  for (size_t i = 0; i < recording.filters.size(); ++i) {
    const int64_t step = static_cast<int64_t>(i) / 2;
    for (size_t row = 0; row < std::size(kPromptLens); ++row) {
      const std::vector<int32_t>& list = recording.filters[i].lists[row];
      const int64_t n = kPromptLens[row] + step + 1;
      ASSERT_EQ(static_cast<int64_t>(list.size()),
                config.budget.count - config.sink_tokens - config.recent_tokens);
      EXPECT_TRUE(std::adjacent_find(list.begin(), list.end(), std::greater_equal<>()) ==
                  list.end());
      EXPECT_GE(list.front(), config.sink_tokens);
      EXPECT_LT(list.back(), n - config.recent_tokens);
    }
  }
}

// ---- every combination --------------------------------------------------------------------------

using Combination = std::tuple<ScoreKind, SelectionScope, SelectionCandidates>;

SelectionConfig ConfigOf(const Combination& combination) {
  SelectionConfig config = Settings();
  std::tie(config.score, config.scope, config.candidates) = combination;
  if (config.candidates == SelectionCandidates::kPrompt) config.budget = {0, 0.4};
  return config;
}

class SelectionCombinationTest : public testing::TestWithParam<Combination> {};

TEST_P(SelectionCombinationTest, PassesTheDebugCheckAtEveryRankCount) {
  const SelectionConfig config = ConfigOf(GetParam());
  for (int size = 1; size <= 5; ++size) {
    if (!TestsRankCount(size)) continue;
    RunLoopback(size, [&](int rank, Group& group) {
      const Recording recording = Decode(config, {}, group, /*check=*/true);
      EXPECT_EQ(recording.filters.size(), size_t{2 * kSteps});
      for (const std::vector<float>& step : recording.logits) {
        EXPECT_TRUE(std::all_of(step.begin(), step.end(), [](float x) { return std::isfinite(x); }))
            << "rank " << rank << " of " << size;
      }
    });
  }
}

// Sets of one rank and of several are equal, but where scores stand so close to the cut that the
// order of float32 sums decides.
class SelectionSplitTest : public SelectionCombinationTest {};

TEST_P(SelectionSplitTest, SelectsAsTheWholeModel) {
  constexpr double kDoubtRelative = 1e-4;
  SelectionConfig config = ConfigOf(GetParam());
  // Either kind of filter layer, without running every combination twice.
  if (config.candidates == SelectionCandidates::kPrompt) {
    config.filter_attends = FilterAttends::kSelected;
  }
  const Recording whole = DecodeAlone(config);
  for (int size = 2; size <= 5; ++size) {
    if (!TestsRankCount(size)) continue;
    RunLoopback(size, [&](int rank, Group& group) {
      const Recording split = Decode(config, {}, group);
      ASSERT_EQ(split.filters.size(), whole.filters.size());
      int num_sets = 0;
      int num_in_doubt = 0;
      for (size_t i = 0; i < whole.filters.size(); ++i) {
        const FilterRecord& mine = split.filters[i];
        const FilterRecord& all = whole.filters[i];
        const size_t rows_mine = mine.lists.size() / std::size(kPromptLens);
        const size_t rows_all = all.lists.size() / std::size(kPromptLens);
        for (size_t row = 0; row < mine.lists.size(); ++row) {
          const size_t head = row % rows_mine;
          const size_t offset = rows_all > 1 ? static_cast<size_t>(mine.kv_heads.begin) : 0;
          const size_t at = row / rows_mine * rows_all + offset + head;
          ++num_sets;
          if (mine.lists[row] == all.lists[at]) continue;
          // Whoever is in one set only must score almost as the last one of the whole set.
          std::vector<int32_t> parted;
          std::set_symmetric_difference(mine.lists[row].begin(), mine.lists[row].end(),
                                        all.lists[at].begin(), all.lists[at].end(),
                                        std::back_inserter(parted));
          const std::vector<float>& scores = all.scores[at];
          float cut = INFINITY;
          for (const int32_t j : all.lists[at]) cut = std::min(cut, scores[static_cast<size_t>(j)]);
          for (const int32_t j : parted) {
            EXPECT_NEAR(scores[static_cast<size_t>(j)], cut,
                        kDoubtRelative * std::fabs(static_cast<double>(cut)))
                << "rank " << rank << " of " << size;
          }
          ++num_in_doubt;
        }
      }
      if (rank == 0 && num_in_doubt > 0) {
        std::cout << size << " ranks: " << num_in_doubt << " of " << num_sets
                  << " sets parted where scores were closer than rounding" << std::endl;
      }
      EXPECT_LE(num_in_doubt * 50, num_sets) << "rounding decides more than 2 % of the sets";
    });
  }
}

std::string NameOf(const testing::TestParamInfo<Combination>& info) {
  static constexpr const char* kScores[] = {"raw_max", "softmax_max", "softmax_mean", "uniform",
                                            "exp"};
  static constexpr const char* kScopes[] = {"global", "rank", "kv_head"};
  static constexpr const char* kCandidates[] = {"history", "prompt"};
  return std::string(kScores[static_cast<size_t>(std::get<0>(info.param))]) + "_" +
         kScopes[static_cast<size_t>(std::get<1>(info.param))] + "_" +
         kCandidates[static_cast<size_t>(std::get<2>(info.param))];
}

INSTANTIATE_TEST_SUITE_P(
    All, SelectionCombinationTest,
    testing::Combine(testing::Values(ScoreKind::kRawMax, ScoreKind::kSoftmaxMax,
                                     ScoreKind::kSoftmaxMean, ScoreKind::kUniform, ScoreKind::kExp),
                     testing::Values(SelectionScope::kGlobal, SelectionScope::kRank,
                                     SelectionScope::kKvHead),
                     testing::Values(SelectionCandidates::kHistory, SelectionCandidates::kPrompt)),
    NameOf);
// Without scope rank, whose sets depend on the split by intent.
INSTANTIATE_TEST_SUITE_P(
    All, SelectionSplitTest,
    testing::Combine(testing::Values(ScoreKind::kRawMax, ScoreKind::kSoftmaxMax,
                                     ScoreKind::kSoftmaxMean, ScoreKind::kUniform, ScoreKind::kExp),
                     testing::Values(SelectionScope::kGlobal, SelectionScope::kKvHead),
                     testing::Values(SelectionCandidates::kHistory, SelectionCandidates::kPrompt)),
    NameOf);

// With one KV head per rank, a rank's own set is its head's.
TEST(SelectionForwardTest, ScopeRankIsScopeKvHeadWhereARankHasOneHead) {
  SelectionConfig config = Settings();
  RunLoopback(3, [&](int rank, Group& group) {
    SelectionConfig by_rank = config;
    SelectionConfig by_head = config;
    by_rank.scope = SelectionScope::kRank;
    by_head.scope = SelectionScope::kKvHead;
    EXPECT_EQ(Decode(by_rank, {}, group).logits, Decode(by_head, {}, group).logits)
        << "rank " << rank;
  });
}

// ---- the debugging check ------------------------------------------------------------------------

// Two ranks with four scores each, of which two are to be selected: {1, 3}.
struct HandMade {
  std::vector<int32_t> positions{1, 3};
  std::vector<int32_t> count{2}, begin{0}, end{4}, k{2}, context{5};
  std::vector<float> scores{0.0f, 5.0f, 1.0f, -1.0f};

  template <typename T>
  static ConstTensorView View(const std::vector<T>& values, Shape shape) {
    return ConstTensorView(values.data(), shape, DTypeOf<T>::value, DeviceKind::kCpu);
  }
  FilterOutcome Outcome(int rank, int size) const {
    FilterOutcome outcome;
    outcome.layer_idx = 8;
    outcome.selection.positions = View(positions, {1, 1, 2});
    outcome.selection.count = View(count, {1});
    outcome.candidates = {View(begin, {1}), View(end, {1}), View(k, {1})};
    outcome.scores = View(scores, {1, 1, 4});
    outcome.context_lens = View(context, {1});
    outcome.peers =
        PeersOf(SelectionScope::kGlobal, ShardModel(4, 4, 4, 4, rank, size), 4, ScoreKind::kRawMax);
    return outcome;
  }
};

void CheckByHand(const std::function<void(int rank, HandMade&)>& make) {
  RunLoopback(2, [&](int rank, Group& group) {
    HandMade hand;
    if (rank == 1) hand.scores = {0.5f, 0.0f, 0.0f, 7.0f};
    make(rank, hand);
    MakeSelectionCheck (*group.control)(hand.Outcome(rank, 2), Stream::Cpu());
  });
}

TEST(SelectionCheckTest, PassesWhatIsRight) {
  CheckByHand([](int, HandMade&) {});
}

TEST(SelectionCheckDeathTest, StopsWithBothSetsWhenRanksDiffer) {
  EXPECT_DEATH(CheckByHand([](int rank, HandMade& hand) {
                 if (rank == 1) hand.positions = {0, 3};
               }),
               "layer 8, row 0: this rank selected 2 positions \\{ (1 3 \\}; rank 1 2 positions "
               "\\{ 0 3|0 3 \\}; rank 0 2 positions \\{ 1 3) \\}");
}

TEST(SelectionCheckDeathTest, StopsWhenTheSetIsNotTheFirstOfTheMaximum) {
  EXPECT_DEATH(CheckByHand([](int, HandMade& hand) {
                 hand.positions = {1, 2};
               }),
               "selected 2 positions \\{ 1 2 \\}; the first of all ranks' scores are 2 positions "
               "\\{ 1 3 \\}");
}

}  // namespace
}  // namespace tamis
