// SPDX-License-Identifier: Apache-2.0
#include "launcher/selection_options.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launcher/option_kinds.h"

namespace tamis {
namespace {

using Config = ServeConfig;

ServeOption FilterLayers() {
  const char* name = "selection-filter-layers";
  return {name,
          "layers that choose the tokens for those after them, as 2,8,18, or none (default none: "
          "every layer attends to everything)",
          [=](const std::string& value, ServeConfig* config) {
            std::vector<int32_t> layers;
            const std::vector<std::string> parts = absl::StrSplit(value, ',');
            for (const std::string& part : parts) {
              int32_t layer = 0;
              if (value == "none") break;
              if (!absl::SimpleAtoi(part, &layer)) {
                return absl::StrCat("--", name, ": \"", value,
                                    "\"; allowed are layer numbers separated by commas, or none");
              }
              layers.push_back(layer);
            }
            config->selection.filter_layers = layers;
            return std::string();
          },
          [](const ServeConfig& config) {
            const std::vector<int32_t>& layers = config.selection.filter_layers;
            return layers.empty() ? std::string("none") : absl::StrJoin(layers, ",");
          }};
}

ServeOption NumSelectedTokens() {
  const char* name = "num-selected-tokens";
  return {name,
          "tokens that a sparse layer attends to, forced ones included: a count, or a fraction of "
          "what competes as 0.067 (default 2048)",
          [=](const std::string& value, ServeConfig* config) {
            const std::optional<SelectionBudget> budget = ParseSelectionBudget(value);
            if (!budget) {
              return absl::StrCat("--", name, ": \"", value,
                                  "\"; allowed is a count, as 2048, or a fraction in (0, 1], as "
                                  "0.067");
            }
            config->selection.budget = *budget;
            return std::string();
          },
          [](const ServeConfig& config) {
            const SelectionBudget& budget = config.selection.budget;
            return budget.count > 0 ? absl::StrCat(budget.count) : absl::StrCat(budget.fraction);
          }};
}

void AddMeaning(std::vector<ServeOption>* options) {
  options->push_back(Named<ScoreKind>("selection-score", "what ranks the tokens (default raw_max)",
                                      [](Config& c) -> ScoreKind& { return c.selection.score; },
                                      {{"raw_max", ScoreKind::kRawMax},
                                       {"softmax_max", ScoreKind::kSoftmaxMax},
                                       {"softmax_mean", ScoreKind::kSoftmaxMean},
                                       {"uniform", ScoreKind::kUniform},
                                       {"exp", ScoreKind::kExp}}));
  options->push_back(Number<int64_t>(
      "selection-window-size",
      "queries that the scores uniform and exp look through, the newest included (default 16)",
      [](Config& c) -> int64_t& { return c.selection.window_size; }, 1, 256));
  options->push_back(Named<ops::LseScope>(
      "selection-lse", "which tokens a softmax score is normalised over (default all)",
      [](Config& c) -> ops::LseScope& { return c.selection.lse; },
      {{"all", ops::LseScope::kAll}, {"prompt", ops::LseScope::kCandidates}}));
  options->push_back(
      Named<SelectionScope>("selection-scope", "who shares one set of tokens (default global)",
                            [](Config& c) -> SelectionScope& { return c.selection.scope; },
                            {{"global", SelectionScope::kGlobal},
                             {"rank", SelectionScope::kRank},
                             {"kv_head", SelectionScope::kKvHead}}));
  options->push_back(Named<FilterAttends>(
      "selection-filter-attention",
      "what a filter layer itself attends to: dense, or selected, which reads keys alone to score "
      "(default dense)",
      [](Config& c) -> FilterAttends& { return c.selection.filter_attends; },
      {{"dense", FilterAttends::kDense}, {"selected", FilterAttends::kSelected}}));
  options->push_back(Named<SelectionCandidates>(
      "selection-candidates",
      "which tokens compete; with prompt all generated ones are attended (default history)",
      [](Config& c) -> SelectionCandidates& { return c.selection.candidates; },
      {{"history", SelectionCandidates::kHistory}, {"prompt", SelectionCandidates::kPrompt}}));
}

void AddCounts(std::vector<ServeOption>* options) {
  options->push_back(Number<int64_t>(
      "selection-wait-layers", "dense layers after each filter layer (default 0)",
      [](Config& c) -> int64_t& { return c.selection.wait_layers; }, 0, 1 << 14));
  options->push_back(NumSelectedTokens());
  options->push_back(Number<int64_t>(
      "max-selected-tokens",
      "most that a request may ask for (default 0 = auto: what --num-selected-tokens comes to)",
      [](Config& c) -> int64_t& { return c.selection.max_selected_tokens; }, 0, kTokensMax));
  options->push_back(Number<int64_t>(
      "selection-sink-tokens", "first tokens, always attended (default 4)",
      [](Config& c) -> int64_t& { return c.selection.sink_tokens; }, 0, kTokensMax));
  options->push_back(Number<int64_t>(
      "selection-recent-tokens", "last tokens, always attended, at least the last one (default 64)",
      [](Config& c) -> int64_t& { return c.selection.recent_tokens; }, 0, kTokensMax));
  options->push_back(Number<int64_t>(
      "selection-min-context",
      "tokens below which a sequence is decoded densely unless it asks otherwise (default 12288)",
      [](Config& c) -> int64_t& { return c.selection.min_context; }, 0, kTokensMax));
}

}  // namespace

std::optional<SelectionBudget> ParseSelectionBudget(const std::string& text) {
  SelectionBudget budget;
  if (absl::SimpleAtoi(text, &budget.count)) {
    if (budget.count > 0) return budget;
    return std::nullopt;
  }
  budget.count = 0;
  if (absl::SimpleAtod(text, &budget.fraction) && budget.fraction > 0 && budget.fraction <= 1) {
    return budget;
  }
  return std::nullopt;
}

void AddSelectionOptions(std::vector<ServeOption>* options) {
  options->push_back(FilterLayers());
  AddCounts(options);
  AddMeaning(options);
  options->push_back(Named<bool>(
      "selection-debug-check",
      "compare every selection over ranks and with a sort, slowly; stop when they differ (default "
      "false)",
      [](Config& c) -> bool& { return c.selection.debug_check; },
      {{"true", true}, {"false", false}}));
  options->push_back(Number<int64_t>(
      "selection-mass-interval",
      "measure the attention mass of selections in one of so many steps (default 0 = never)",
      [](Config& c) -> int64_t& { return c.selection.mass_interval; }, 0, kTokensMax));
  options->push_back(Number<int64_t>(
      "selection-dense-interval",
      "run one of so many steps densely too, and compare (default 0 = never)",
      [](Config& c) -> int64_t& { return c.selection.dense_interval; }, 0, kTokensMax));
  options->push_back(Named<bool>(
      "selection-force-sparse",
      "select every candidate, which equals dense decoding; for debugging (default false)",
      [](Config& c) -> bool& { return c.selection.force_sparse; },
      {{"true", true}, {"false", false}}));
}

}  // namespace tamis
