// SPDX-License-Identifier: Apache-2.0
// How decoding selects: the server-wide settings, and what they make of each layer. Semantics:
// README.md, "Selection".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "kernels/selection.h"
#include "runtime/model/kv_cache.h"

namespace tamis {

// What competes with the forced tokens: everything, or the unforced prompt alone (as OmniKV's
// released code does), with every generated token attended besides.
enum class SelectionCandidates : uint8_t { kHistory, kPrompt };

// How a sequence decodes: sparsely from min_context tokens on, whatever its length, or never.
enum class SelectionMode : uint8_t { kAuto, kOn, kOff };

// What a filter layer's own attention runs over: everything, or its selection. Scores are the same
// kind either way, but kSelected reads keys alone for them.
enum class FilterAttends : uint8_t { kDense, kSelected };

// A number of tokens, or a fraction of the history (kHistory) or of the prompt (kPrompt). One of
// the two is 0.
struct SelectionBudget {
  int64_t count = 0;
  double fraction = 0.0;  // in (0, 1]
  bool operator==(const SelectionBudget&) const = default;
};

struct SelectionConfig {
  std::vector<int32_t> filter_layers;  // ascending; empty = every layer is dense
  int64_t wait_layers = 0;             // dense layers after each filter layer
  ScoreKind score = ScoreKind::kRawMax;
  ops::LseScope lse = ops::LseScope::kAll;
  SelectionScope scope = SelectionScope::kGlobal;
  FilterAttends filter_attends = FilterAttends::kDense;  // filter_attention
  SelectionCandidates candidates = SelectionCandidates::kHistory;
  SelectionBudget budget{2048, 0.0};  // num_selected_tokens
  int64_t sink_tokens = 4;
  int64_t recent_tokens = 64;   // at least the current one, even if 0
  int64_t min_context = 12288;  // shorter sequences decode densely under kAuto
  int64_t window_size = 16;     // queries that uniform and exp score with, the current one's too
  int64_t max_selected_tokens = 0;  // of any request; 0 = what `budget` can come to
  // Debugging aids. Every candidate is selected, through the gathering path: equals dense decoding.
  bool force_sparse = false;
  // Every filter layer of every step is checked against the other ranks (selection_check.h).
  bool debug_check = false;
  // One in this many of the steps that select is measured (selection_probe.h); 0 = none.
  int64_t mass_interval = 0;   // the attention mass of the selections
  int64_t dense_interval = 0;  // a dense run beside

  bool enabled() const { return !filter_layers.empty(); }
};

// Empty if the settings are possible for this model and length, else one sentence naming field,
// value and what is allowed. Always empty when no filter layer is given.
std::string SelectionConfigProblem(const SelectionConfig& config, int64_t num_layers,
                                   int64_t max_model_len);

// The same for the budget of a request whose tokens number at most `num_tokens_max`.
std::string SelectionBudgetProblem(const SelectionConfig& config, const SelectionBudget& budget,
                                   int64_t num_tokens_max, int64_t max_model_len);

// Empty if this device computes what the settings need, else one sentence.
std::string SelectionDeviceProblem(const SelectionConfig& config, DeviceKind device,
                                   int64_t max_num_seqs, int64_t kv_heads_local);

// The longest list of any sequence: the size of the buffers. 0 without filter layers.
int64_t SelectedTokensMax(const SelectionConfig& config, int64_t max_model_len);

enum class LayerRole : uint8_t {
  kDense,   // attends to everything
  kFilter,  // scores everything, selects, and attends as filter_attends says
  kSparse,  // attends to the latest selection
};

// What each layer does. A filter layer that no sparse layer follows is a dense one.
struct SelectionLayers {
  SelectionConfig config;
  std::vector<LayerRole> roles;    // [L]
  std::vector<int> segment_group;  // [L] of filter and sparse layers: their segment's; else -1
  LayerGroups groups;              // 0 = dense and filter layers; 1, 2, ... = the segments
};

// Without filter layers: dense roles, one group.
SelectionLayers MakeSelectionLayers(const SelectionConfig& config, int64_t num_layers);

}  // namespace tamis
