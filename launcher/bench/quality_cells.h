// SPDX-License-Identifier: Apache-2.0
// Which settings `tamis bench quality` compares: one factor at a time around a base.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/lab/experiment.h"

namespace tamis {

struct QualityGrid {
  SelectionConfig base;                              // its budget is one of `budgets`
  std::vector<double> budgets = {0.016, 0.03, 0.067, 0.125, 0.25};
  std::vector<std::vector<int32_t>> other_filters;   // sets besides the base's
  std::vector<double> filter_budgets = {0.067};      // that those are compared at
  std::vector<std::string> factors;                  // to vary; empty = all
  int64_t num_layers = 0;
};

constexpr size_t kQualityCellsMax = 60;

// The names of what can be varied: factors of the cells.
std::vector<std::string> QualityFactors();

// At most kQualityCellsMax, the most telling first; variants that run together are neighbours. Sets
// that leave no sparse layer are left out.
std::vector<Variant> QualityCells(const QualityGrid& grid);

}  // namespace tamis
