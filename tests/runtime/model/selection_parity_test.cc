// SPDX-License-Identifier: Apache-2.0
// Selected positions and logits of sparse decoding equal those of an independent reference
// (make_selection_fixtures.py) for OmniKV's released semantics, our defaults and others, at every
// rank count from 1 to 5 that the heads allow.
#include <ostream>
#include <string>

#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "tests/runtime/model/fixtures.h"
#include "tests/runtime/model/model_harness.h"
#include "tests/support/thread_sanitizer.h"

namespace tamis {
namespace {

// Relative L2 error over a row of logits; we compute in float32, the reference in float64.
constexpr double kToleranceRelative = 1e-4;
constexpr int kRanksMax = 5;

// The attention mass is a difference of sums in float32.
constexpr double kMassTolerance = 1e-5;

struct Lists {
  std::vector<std::vector<int32_t>> rows;  // per selection row
  double mass = 0;                         // attention mass that they and the forced tokens hold
};

struct Case {
  std::string name;
  ModelConfig model;
  uint64_t seed = 0;
  int64_t prompt_len = 0;
  SelectionConfig selection;
  std::vector<int32_t> tokens;
  std::vector<std::vector<Lists>> lists;   // [steps][filter layers that select]
  std::vector<std::vector<float>> logits;  // [steps]
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

template <typename Value>
Value Lookup(const std::string& name, std::initializer_list<std::pair<const char*, Value>> table) {
  for (const auto& [key, value] : table) {
    if (name == key) return value;
  }
  CHECK(false) << "the fixture says " << name;
  return table.begin()->second;
}

SelectionConfig ReadSetting(std::istream& text, std::string* name) {
  std::string score, lse, scope, candidates, budget;
  double tokens = 0.0;
  SelectionConfig selection;
  text >> *name >> score >> lse >> scope >> candidates >> budget >> tokens;
  text >> selection.sink_tokens >> selection.recent_tokens >> selection.wait_layers >>
      selection.window_size;
  selection.score = Lookup<ScoreKind>(score, {{"raw_max", ScoreKind::kRawMax},
                                              {"softmax_max", ScoreKind::kSoftmaxMax},
                                              {"softmax_mean", ScoreKind::kSoftmaxMean},
                                              {"uniform", ScoreKind::kUniform},
                                              {"exp", ScoreKind::kExp}});
  selection.lse = Lookup<ops::LseScope>(
      lse, {{"all", ops::LseScope::kAll}, {"prompt", ops::LseScope::kCandidates}});
  selection.scope = Lookup<SelectionScope>(
      scope, {{"global", SelectionScope::kGlobal}, {"kv_head", SelectionScope::kKvHead}});
  selection.candidates = Lookup<SelectionCandidates>(
      candidates,
      {{"history", SelectionCandidates::kHistory}, {"prompt", SelectionCandidates::kPrompt}});
  selection.budget = budget == "fraction" ? SelectionBudget{0, tokens}
                                          : SelectionBudget{static_cast<int64_t>(tokens), 0.0};
  selection.min_context = 0;
  return selection;
}

std::vector<std::vector<Lists>> ReadLists(std::istream& text, size_t num_steps) {
  std::vector<std::vector<Lists>> steps(num_steps);
  for (std::vector<Lists>& step : steps) {
    size_t num_filters = 0;
    Expect(text, "filtered");
    text >> num_filters;
    step.resize(num_filters);
    for (Lists& lists : step) {
      size_t num_rows = 0;
      Expect(text, "mass");
      text >> lists.mass;
      Expect(text, "rows");
      text >> num_rows;
      for (size_t row = 0; row < num_rows; ++row) lists.rows.push_back(ReadIntegers(text, "list"));
    }
  }
  return steps;
}

std::vector<Case> ReadCases() {
  std::ifstream text = OpenFixture("selection.txt");
  std::ifstream floats = OpenFixture("selection.bin");
  std::vector<Case> cases;
  while (Expect(text, "model")) {
    Case model;
    std::string name;
    ModelConfig& config = model.model;
    text >> name;
    Expect(text, "sizes");
    text >> config.hidden_size >> config.num_layers >> config.num_q_heads >> config.num_kv_heads >>
        config.head_dim >> config.ffn_size >> config.vocab_size;
    config.architecture = "llama";
    config.max_positions = 512;
    Expect(text, "seed");
    text >> model.seed;
    Expect(text, "prompt");
    text >> model.prompt_len;
    const std::vector<int32_t> filters = ReadIntegers(text, "filters");
    size_t num_settings = 0;
    Expect(text, "settings");
    text >> num_settings;
    for (size_t i = 0; i < num_settings; ++i) {
      Case c = model;
      Expect(text, "setting");
      std::string setting;
      c.selection = ReadSetting(text, &setting);
      c.selection.filter_layers = filters;
      c.name = name + "_" + setting;
      c.tokens = ReadIntegers(text, "tokens");
      const size_t num_steps = c.tokens.size() - static_cast<size_t>(c.prompt_len);
      c.lists = ReadLists(text, num_steps);
      for (size_t step = 0; step < num_steps; ++step) {
        c.logits.push_back(ReadFloats(floats, static_cast<size_t>(config.vocab_size)));
      }
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

// The lists of one filter layer at one step with a single sequence.
std::vector<std::vector<int32_t>> ListsOf(const FilterOutcome& outcome) {
  const ConstTensorView& positions = outcome.selection.positions;
  const int32_t count = outcome.selection.count.As<int32_t>()[0];
  std::vector<std::vector<int32_t>> lists;
  for (int64_t row = 0; row < positions.shape[1]; ++row) {
    const int32_t* first = positions.As<int32_t>() + row * positions.shape[2];
    lists.emplace_back(first, first + count);
  }
  return lists;
}

void DecodeAndCompare(const Case& c, int rank, Group& group, int size) {
  SCOPED_TRACE(testing::Message() << "rank " << rank << " of " << size);
  const ModelShard shard = ShardOf(c.model, rank, size);
  ModelHarness harness(c.model, shard, DummyWeights(c.model, shard, c.seed), *group.collectives,
                       {.num_tokens_max = 192, .num_slots = 4}, c.selection);
  std::vector<std::vector<std::vector<int32_t>>> found;
  harness.Observe(
      [&](const FilterOutcome& outcome, const Stream&) { found.push_back(ListsOf(outcome)); });
  // Measured steps, some of them run densely too, are like any other.
  SelectionConfig measured = c.selection;
  measured.mass_interval = size % 2;
  measured.dense_interval = size % 2 * 2;
  SelectionProbe probe(measured, c.model, harness.layers(), nullptr);
  harness.Probe(&probe);
  TestSequence sequence{c.tokens};
  sequence.slot = 2;
  harness.Run({&sequence, c.prompt_len});
  ASSERT_TRUE(found.empty()) << "prefill is dense";
  for (size_t step = 0; step < c.logits.size(); ++step) {
    const SelectionPlan plan = PlanSelection(c.selection, SelectionMode::kAuto, c.selection.budget,
                                             sequence.num_cached + 1, c.prompt_len);
    found.clear();
    const ConstTensorView logits =
        harness.Run({.sequence = &sequence, .num_tokens = 1, .decode = true, .selection = plan});
    ASSERT_EQ(found.size(), c.lists[step].size()) << "step " << step;
    for (size_t filter = 0; filter < found.size(); ++filter) {
      std::vector<std::vector<int32_t>> expected = c.lists[step][filter].rows;
      if (c.selection.scope == SelectionScope::kKvHead) {
        const Slice heads = shard.heads.kv_heads;
        expected = {expected.begin() + heads.begin, expected.begin() + heads.end()};
      }
      ASSERT_EQ(found[filter], expected) << "step " << step << ", filter " << filter;
      if (measured.mass_interval == 0) continue;
      EXPECT_NEAR(probe.measures().filters[filter].last, c.lists[step][filter].mass, kMassTolerance)
          << "step " << step << ", filter " << filter;
    }
    EXPECT_LE(RelativeError(RowOf(logits, 0), c.logits[step]), kToleranceRelative)
        << "step " << step;
  }
  EXPECT_EQ(probe.measures().agreement.tokens_total, size % 2 == 1 ? 3 : 0);
}

class SelectionParityTest : public testing::TestWithParam<Case> {};

TEST_P(SelectionParityTest, EqualsTheReference) {
  const Case& c = GetParam();
  const int64_t num_q_heads = c.model.num_q_heads;
  for (int size = 1; size <= std::min<int64_t>(kRanksMax, num_q_heads); ++size) {
    if (!TestsRankCount(size)) continue;
    RunLoopback(size, [&](int rank, Group& group) { DecodeAndCompare(c, rank, group, size); });
  }
}

INSTANTIATE_TEST_SUITE_P(RandomModels, SelectionParityTest, testing::ValuesIn(ReadCases()),
                         [](const testing::TestParamInfo<Case>& c) { return c.param.name; });

}  // namespace
}  // namespace tamis
