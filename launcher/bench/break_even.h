// SPDX-License-Identifier: Apache-2.0
// `tamis bench decode --break-even`: the context from which on a lone sequence decodes faster
// sparsely than densely, to be committed as a GPU's min_context, and what `auto` makes of it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "launcher/bench/decode_case.h"
#include "launcher/bench/decode_report.h"
#include "nlohmann/json.hpp"

namespace tamis {

// Steps at one context, in each mode.
struct BreakEvenPoint {
  int64_t context = 0;
  double dense_ms = 0;
  double auto_ms = 0;
  std::optional<double> sparse_ms;  // none: the budget covers the context

  // How much slower `auto` is than the better of the others; negative if faster than both.
  double auto_loss() const;
};

// One sequence of 1K to 64K tokens, ascending.
std::vector<DecodeCase> BreakEvenCases();

// Of rows that were measured for BreakEvenCases, each in all three modes.
std::vector<BreakEvenPoint> BreakEvenPoints(const std::vector<DecodeRow>& rows);

// Where sparse steps begin to be faster, and stay so, at all longer contexts of the ascending
// points; between two points by a straight line. None if they are slower at the last.
std::optional<double> BreakEvenContext(const std::vector<BreakEvenPoint>& points);

// The least min_context that is not below it: whole chunks of attention, hence whole blocks.
int64_t RecommendedMinContext(double break_even);

// `min_context` is what `auto` went by.
void PrintBreakEven(const std::vector<BreakEvenPoint>& points, int64_t min_context);
nlohmann::json BreakEvenJson(const std::vector<BreakEvenPoint>& points, int64_t min_context);

}  // namespace tamis
