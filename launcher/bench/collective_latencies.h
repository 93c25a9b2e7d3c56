// SPDX-License-Identifier: Apache-2.0
// How long collectives take on machines that are not here: a table in a file, for
// `tamis bench decode --simulate-rank`.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/selection_config.h"
#include "runtime/model/weights.h"

namespace tamis {

// A collective that a decode step calls: its name in the table, the bytes of one rank's tensor,
// and how often.
struct StepCollective {
  std::string name;
  size_t bytes = 0;
  int64_t count = 0;
};

// What one decode step of `rows` sequences (padding included) calls. `k_max` is the length of the
// step's lists of selected tokens and `context_max` the longest context; k_max = 0: dense.
std::vector<StepCollective> CollectivesOfStep(const ModelConfig& model, const ModelShard& shard,
                                              DType dtype, const SelectionLayers& layers,
                                              int64_t rows, int64_t k_max, int64_t context_max);

class CollectiveLatencies {
 public:
  // Lines "name ranks bytes us"; # begins a comment. NotFound, or InvalidArgument naming the line.
  static absl::StatusOr<CollectiveLatencies> Read(const std::string& path);

  // Microseconds of one call: a point of the table, or on the line between its neighbours; below
  // the least size, what that takes; above the greatest, on the line through the last two. NotFound
  // if the table has nothing for that name and number of ranks.
  absl::StatusOr<double> Microseconds(const std::string& name, int ranks, size_t bytes) const;

 private:
  std::string path_;
  std::map<std::pair<std::string, int>, std::map<size_t, double>> points_;
};

}  // namespace tamis
