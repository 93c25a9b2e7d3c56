// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/quality_cells.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tamis {
namespace {

class Cells {
 public:
  explicit Cells(const QualityGrid& grid) : grid_(grid) {}

  void Add(const std::string& factor, const std::string& value, const SelectionConfig& config,
           AttendPolicy policy = AttendPolicy::kSelection, bool forced_only = false) {
    const std::string problem =
        SelectionConfigProblem(config, grid_.num_layers, config.sink_tokens + (1 << 20));
    if (!problem.empty() || cells_.size() >= kQualityCellsMax) return;
    const std::vector<std::string>& wanted = grid_.factors;
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), factor) == wanted.end()) return;
    Variant cell;
    cell.factor = factor;
    cell.name = absl::StrCat(value, " ", 100 * config.budget.fraction, "%");
    cell.policy = policy;
    cell.forced_only = forced_only;
    cell.config = config;
    cells_.push_back(std::move(cell));
  }
  // At every budget, which run as rows of the same steps.
  void AddBudgets(const std::string& factor, const std::string& value, SelectionConfig config,
                  AttendPolicy policy = AttendPolicy::kSelection, bool forced_only = false) {
    for (const double budget : grid_.budgets) {
      config.budget = {0, budget};
      Add(factor, value, config, policy, forced_only);
    }
  }
  std::vector<Variant> Take() { return std::move(cells_); }

 private:
  const QualityGrid& grid_;
  std::vector<Variant> cells_;
};

std::string FilterName(const std::vector<int32_t>& filters) { return absl::StrJoin(filters, ","); }

void AddSettings(const QualityGrid& grid, Cells* cells) {
  const SelectionConfig& base = grid.base;
  cells->AddBudgets("budget", "base", base);
  SelectionConfig prompt = base;
  prompt.candidates = SelectionCandidates::kPrompt;
  cells->Add("candidates", "prompt", prompt);
  for (const auto& [sinks, recents] :
       {std::pair<int64_t, int64_t>{0, 64}, {16, 64}, {4, 0}, {4, 16}, {4, 128}}) {
    SelectionConfig forced = base;
    forced.sink_tokens = sinks;
    forced.recent_tokens = recents;
    cells->Add("forced", absl::StrCat("sinks ", sinks, " recents ", recents), forced);
  }
  cells->AddBudgets("baseline", "sinks+recents", base, AttendPolicy::kSelection, true);
  SelectionConfig scored = base;
  scored.score = ScoreKind::kSoftmaxMax;
  cells->AddBudgets("score", "softmax_max", scored);
  scored.score = ScoreKind::kSoftmaxMean;
  cells->AddBudgets("score", "softmax_mean", scored);
  SelectionConfig scoped = base;
  scoped.scope = SelectionScope::kKvHead;
  cells->AddBudgets("scope", "kv_head raw_max", scoped);
  scoped.score = ScoreKind::kSoftmaxMean;
  cells->Add("scope", "kv_head softmax_mean", scoped);
  SelectionConfig waiting = base;
  waiting.wait_layers = 1;
  cells->Add("wait", "wait 1", waiting);
}

void AddFilterSets(const QualityGrid& grid, Cells* cells) {
  for (const std::vector<int32_t>& filters : grid.other_filters) {
    for (const ScoreKind score : {ScoreKind::kRawMax, ScoreKind::kSoftmaxMax}) {
      for (const double budget : grid.filter_budgets) {
        SelectionConfig other = grid.base;
        other.filter_layers = filters;
        other.score = score;
        other.budget = {0, budget};
        const char* scored = score == ScoreKind::kRawMax ? "" : " softmax_max";
        cells->Add("filters", FilterName(filters) + scored, other);
      }
    }
  }
}

void AddBaselines(const QualityGrid& grid, Cells* cells) {
  SelectionConfig one = grid.base;
  one.filter_layers.resize(1);
  for (const double budget : {0.03, 0.067, 0.25}) {
    one.budget = {0, budget};
    cells->Add("baseline", absl::StrCat("one filter ", one.filter_layers[0]), one);
  }
  SelectionConfig everywhere = grid.base;
  everywhere.filter_layers = {0};
  for (const double budget : {0.067, 0.25}) {
    everywhere.budget = {0, budget};
    cells->Add("baseline", "sinks+recents, layers 1 on", everywhere, AttendPolicy::kSelection,
               true);
  }
  for (const double budget : {0.016, 0.03, 0.067}) {
    SelectionConfig probed = grid.base;
    probed.budget = {0, budget};
    cells->Add("baseline", "layer oracle", probed, AttendPolicy::kLayerOracle);
  }
  for (const double budget : {0.03, 0.067, 0.25}) {
    SelectionConfig probed = grid.base;
    probed.budget = {0, budget};
    cells->Add("baseline", "heavy hitters", probed, AttendPolicy::kHeavyHitters);
  }
}

}  // namespace

std::vector<std::string> QualityFactors() {
  return {"budget", "candidates", "forced", "score", "scope", "wait", "baseline", "filters"};
}

std::vector<Variant> QualityCells(const QualityGrid& grid) {
  Cells cells(grid);
  AddSettings(grid, &cells);
  AddBaselines(grid, &cells);
  AddFilterSets(grid, &cells);
  return cells.Take();
}

}  // namespace tamis
