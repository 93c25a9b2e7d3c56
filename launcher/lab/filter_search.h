// SPDX-License-Identifier: Apache-2.0
// Which layers should be filter layers: by how much of the later layers' attention a layer's first
// tokens hold, and by the loss that decoding with them comes to.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "launcher/lab/experiment.h"

namespace tamis {

// held[a * L + b]: part of layer b's attention mass, mean over heads and tokens, that the tokens
// hold that layer a would select (forced ones included). The paper's similarity, for all pairs.
struct LayerSimilarity {
  int64_t num_layers = 0;
  std::vector<double> held;
  double at(int64_t a, int64_t b) const { return held[static_cast<size_t>(a * num_layers + b)]; }
};

// Over the first `num_steps` inputs of each case, decoded densely. `config` says how layers score
// and how much they select; its filter layers do not matter.
LayerSimilarity MeasureSimilarity(Lab& lab, ThreadPool& pool, const SelectionConfig& config,
                                  const std::vector<Case>& cases, int64_t num_steps,
                                  int64_t rows_max,
                                  const std::function<void(int64_t)>& progress);

// What a set of filter layers may be: all layers before the first filter layer, the filter layers
// and wait_layers layers after each are dense, at most dense_layers_max in all.
struct FilterShape {
  int64_t num_layers = 0;
  int64_t num_filters = 3;
  int64_t wait_layers = 0;
  int64_t dense_layers_max = 6;
};

// Empty if some set fits, else what to change.
std::string FilterShapeProblem(const FilterShape& shape);

// Whether the set, or one that grows from it, fits.
bool Fits(const FilterShape& shape, const std::vector<int32_t>& filters);

// The set whose selections hold the most mass over all layers, by dynamic programming.
std::vector<int32_t> BestBySimilarity(const LayerSimilarity& similarity, const FilterShape& shape);

// What the search minimises, of a set of filter layers.
using FilterCost = std::function<double(const std::vector<int32_t>&)>;

// Adds the best layer until num_filters are there, then tries for each of them every replacement,
// `passes` times over. Ties go to the lower layer. `cost` may remember what it was asked before.
std::vector<int32_t> GreedyFilters(const FilterShape& shape, int64_t passes,
                                   const FilterCost& cost);

}  // namespace tamis
