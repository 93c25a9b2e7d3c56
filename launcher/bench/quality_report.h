// SPDX-License-Identifier: Apache-2.0
// From outcomes to the figures that `tamis bench quality` reports.
#pragma once

#include <string>
#include <vector>

#include "launcher/lab/experiment.h"
#include "nlohmann/json.hpp"

namespace tamis {

// One cell: settings, figures per context length and over all texts, tasks by kind, and recall per
// layer. `outcomes` are the cell's, of `cases`.
nlohmann::json CellJson(const Variant& variant, const std::vector<Case>& cases,
                        const std::vector<Outcome>& outcomes);

// A line per cell: the texts' figures, and the tasks'.
std::string QualityTable(const nlohmann::json& cells);

const char* NameOfScore(ScoreKind score);

}  // namespace tamis
