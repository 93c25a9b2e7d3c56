// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/collective_latencies.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace tamis {

std::vector<StepCollective> CollectivesOfStep(const ModelConfig& model, const ModelShard& shard,
                                              DType dtype, const SelectionLayers& layers,
                                              int64_t rows, int64_t k_max, int64_t context_max) {
  const auto bytes = [rows](int64_t width, size_t element) {
    return static_cast<size_t>(rows * width) * element;
  };
  // The embeddings, and two a layer; the logits.
  std::vector<StepCollective> calls = {
      {"all_reduce", bytes(model.hidden_size, DTypeBytes(dtype)), 1 + 2 * model.num_layers},
      {"all_gather", bytes(shard.vocab_local_max, sizeof(float)), 1}};
  const int64_t filters = std::count(layers.roles.begin(), layers.roles.end(), LayerRole::kFilter);
  const SelectionConfig& config = layers.config;
  if (k_max == 0 || filters == 0 || config.scope != SelectionScope::kGlobal) return calls;
  if (config.score == ScoreKind::kSoftmaxMean) {
    calls.push_back({"all_reduce", bytes(context_max, sizeof(float)), filters});
  } else {
    calls.push_back({"exchange_top_k", bytes(k_max, sizeof(int32_t) + sizeof(float)), filters});
  }
  return calls;
}

absl::StatusOr<CollectiveLatencies> CollectiveLatencies::Read(const std::string& path) {
  CollectiveLatencies table;
  table.path_ = path;
  std::ifstream file(path);
  std::string line;
  if (!file.is_open()) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  for (int number = 1; std::getline(file, line); ++number) {
    std::istringstream fields(line.substr(0, line.find('#')));
    std::string name, rest;
    int ranks = 0;
    size_t bytes = 0;
    double us = 0;
    if (!(fields >> name)) continue;
    if (!(fields >> ranks >> bytes >> us) || ranks < 1 || us < 0 || (fields >> rest)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ":", number, ": \"", line, "\"; allowed is a name, ranks, bytes, microseconds"));
    }
    table.points_[{name, ranks}][bytes] = us;
  }
  return table;
}

absl::StatusOr<double> CollectiveLatencies::Microseconds(const std::string& name, int ranks,
                                                         size_t bytes) const {
  const auto found = points_.find({name, ranks});
  if (found == points_.end()) {
    return absl::NotFoundError(
        absl::StrCat(path_, " has no latency of ", name, " over ", ranks, " ranks"));
  }
  const std::map<size_t, double>& points = found->second;
  auto above = points.lower_bound(bytes);
  if (above == points.begin() || points.size() == 1) return points.begin()->second;
  if (above == points.end()) --above;
  const auto below = std::prev(above);
  const double part = (static_cast<double>(bytes) - static_cast<double>(below->first)) /
                      static_cast<double>(above->first - below->first);
  return below->second + part * (above->second - below->second);
}

}  // namespace tamis
