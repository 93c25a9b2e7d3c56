// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/selection_config.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace tamis {
namespace {

// Far above any context; sums of two of them stay positions.
constexpr int64_t kTokensMax = int64_t{1} << 29;

// Each query of a window costs as much as scoring by one does.
constexpr int64_t kWindowMax = 256;

std::string OutOfRange(const std::string& field, int64_t value, int64_t min, int64_t max) {
  return field + " is " + std::to_string(value) + "; it must be between " + std::to_string(min) +
         " and " + std::to_string(max);
}

int64_t ForcedMax(const SelectionConfig& config) {
  return config.sink_tokens + std::max<int64_t>(1, config.recent_tokens);
}

int64_t TokensOf(const SelectionBudget& budget, int64_t num_tokens_max) {
  if (budget.count > 0) return budget.count;
  return static_cast<int64_t>(std::floor(budget.fraction * static_cast<double>(num_tokens_max)));
}

// A count or a fraction, whatever else is configured.
std::string BudgetFormProblem(const SelectionConfig& config, const SelectionBudget& budget) {
  if (budget.fraction != 0.0) {
    if (budget.count == 0 && budget.fraction > 0.0 && budget.fraction <= 1.0) return "";
    return "num_selected_tokens is the fraction " + std::to_string(budget.fraction) +
           "; it must be above 0 and at most 1";
  }
  if (budget.count > ForcedMax(config) && budget.count <= kTokensMax) return "";
  return "num_selected_tokens is " + std::to_string(budget.count) + "; it must be above " +
         std::to_string(ForcedMax(config)) +
         ", the number of sink_tokens and recent_tokens, which are always attended, and at most " +
         std::to_string(kTokensMax);
}

std::string FilterLayersProblem(const SelectionConfig& config, int64_t num_layers) {
  int32_t previous = -1;
  for (const int32_t layer : config.filter_layers) {
    if (layer < 0 || layer >= num_layers) {
      return OutOfRange("filter_layers contains a layer that", layer, 0, num_layers - 1);
    }
    if (layer <= previous) {
      return "filter_layers has " + std::to_string(layer) + " after " + std::to_string(previous) +
             "; layers must ascend";
    }
    previous = layer;
  }
  if (config.wait_layers < 0 || config.wait_layers >= num_layers) {
    return OutOfRange("wait_layers", config.wait_layers, 0, num_layers - 1);
  }
  const std::vector<LayerRole> roles = MakeSelectionLayers(config, num_layers).roles;
  if (std::find(roles.begin(), roles.end(), LayerRole::kSparse) == roles.end()) {
    return "filter_layers and wait_layers leave no sparse layer among " +
           std::to_string(num_layers) + "; leave filter_layers empty to decode densely";
  }
  return "";
}

}  // namespace

std::string SelectionConfigProblem(const SelectionConfig& config, int64_t num_layers,
                                   int64_t max_model_len) {
  if (!config.enabled()) return "";
  std::string problem = FilterLayersProblem(config, num_layers);
  if (!problem.empty()) return problem;
  const struct {
    const char* field;
    int64_t value;
  } counts[] = {{"sink_tokens", config.sink_tokens},
                {"recent_tokens", config.recent_tokens},
                {"min_context", config.min_context},
                {"max_selected_tokens", config.max_selected_tokens}};
  for (const auto& count : counts) {
    if (count.value < 0 || count.value > kTokensMax) {
      return OutOfRange(count.field, count.value, 0, kTokensMax);
    }
  }
  const bool prompt = config.candidates == SelectionCandidates::kPrompt;
  const bool window = IsWindowScore(config.score);
  if (window && (config.window_size < 1 || config.window_size > kWindowMax)) {
    return OutOfRange("window_size", config.window_size, 1, kWindowMax);
  }
  const int64_t recent_max = window ? config.window_size : 1;
  if (config.lse == ops::LseScope::kCandidates &&
      (!prompt || config.sink_tokens > 0 || config.recent_tokens > recent_max)) {
    return "lse is prompt; it needs candidates prompt, sink_tokens 0 and recent_tokens at most " +
           std::to_string(recent_max) + ", so that the prompt is what competes";
  }
  return SelectionBudgetProblem(config, config.budget, max_model_len, max_model_len);
}

std::string SelectionBudgetProblem(const SelectionConfig& config, const SelectionBudget& budget,
                                   int64_t num_tokens_max, int64_t max_model_len) {
  const std::string problem = BudgetFormProblem(config, budget);
  if (!problem.empty()) return problem;
  // A count above the longest sequence is harmless: such a budget covers everything.
  const int64_t tokens = std::min(TokensOf(budget, num_tokens_max), max_model_len);
  const int64_t allowed = SelectedTokensMax(config, max_model_len);
  if (tokens <= allowed) return "";
  return "num_selected_tokens comes to " + std::to_string(tokens) + " of " +
         std::to_string(num_tokens_max) + " tokens; max_selected_tokens allows " +
         std::to_string(allowed);
}

std::string SelectionDeviceProblem(const SelectionConfig& config, DeviceKind device,
                                   int64_t max_num_seqs, int64_t kv_heads_local) {
  if (!config.enabled() || device == DeviceKind::kCpu) return "";
  if (IsWindowScore(config.score)) {
    return "score is " + std::string(config.score == ScoreKind::kUniform ? "uniform" : "exp") +
           ", which is computed on CPUs only; on GPUs allowed are raw_max, softmax_max, "
           "softmax_mean";
  }
  constexpr int64_t kRowsMax = 65535;  // of a grid
  const int64_t lists = config.scope == SelectionScope::kKvHead ? kv_heads_local : 1;
  if (max_num_seqs * lists <= kRowsMax) return "";
  return "scope kv_head makes " + std::to_string(max_num_seqs * lists) +
         " lists of --max-num-seqs sequences; on GPUs allowed are at most " +
         std::to_string(kRowsMax);
}

int64_t SelectedTokensMax(const SelectionConfig& config, int64_t max_model_len) {
  if (!config.enabled()) return 0;
  if (config.force_sparse) return max_model_len;
  const int64_t tokens = config.max_selected_tokens > 0 ? config.max_selected_tokens
                                                        : TokensOf(config.budget, max_model_len);
  return std::clamp<int64_t>(tokens, 1, max_model_len);
}

SelectionLayers MakeSelectionLayers(const SelectionConfig& config, int64_t num_layers) {
  SelectionLayers layers;
  layers.config = config;
  layers.roles.assign(static_cast<size_t>(num_layers), LayerRole::kDense);
  layers.segment_group.assign(static_cast<size_t>(num_layers), -1);
  layers.groups = DenseLayerGroups(num_layers);
  const std::vector<int32_t>& filters = config.filter_layers;
  for (size_t i = 0; i < filters.size(); ++i) {
    CHECK(filters[i] >= 0 && filters[i] < num_layers) << "filter layer " << filters[i];
    const int64_t begin = filters[i] + config.wait_layers + 1;
    const int64_t end = i + 1 < filters.size() ? filters[i + 1] : num_layers;
    if (begin >= end) continue;
    const int group = layers.groups.num_groups++;
    layers.roles[static_cast<size_t>(filters[i])] = LayerRole::kFilter;
    layers.segment_group[static_cast<size_t>(filters[i])] = group;
    for (int64_t layer_idx = begin; layer_idx < end; ++layer_idx) {
      const size_t layer = static_cast<size_t>(layer_idx);
      layers.roles[layer] = LayerRole::kSparse;
      layers.segment_group[layer] = group;
      layers.groups.group_of_layer[layer] = group;
    }
  }
  return layers;
}

}  // namespace tamis
