// SPDX-License-Identifier: Apache-2.0
// The table and the JSON of `tamis bench decode`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/bench/collective_latencies.h"
#include "launcher/bench/decode_case.h"
#include "launcher/bench/decode_rank.h"
#include "launcher/bench/engine_steps.h"
#include "nlohmann/json.hpp"

namespace tamis {

// What collectives that were not run would have taken.
struct SimulatedCalls {
  std::vector<StepCollective> calls;
  std::vector<double> us;  // of one call of each
  double total_ms() const;
};

struct DecodeRow {
  DecodeCase what;
  SelectionMode asked = SelectionMode::kOff;
  bool sparse = false;  // what that came to
  StepTimes times;
  StepBytes bytes;
  std::optional<SimulatedCalls> simulated;

  // With what is simulated.
  double step_ms() const;
};

// What the rows are measured against, printed above the table: the device, its read ceiling in
// bytes per second, and where the memory went.
void PrintHeading(const DecodeRank& rank, double ceiling, bool simulated);
void PrintRow(const DecodeRow& row, double ceiling);
nlohmann::json ToJson(const DecodeRow& row, double ceiling);

}  // namespace tamis
