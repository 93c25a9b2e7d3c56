// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/break_even.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/check.h"
#include "kernels/kv_layout.h"

namespace tamis {
namespace {

constexpr int64_t kContexts[] = {1024,  2048,  4096,  6144,  8192, 12288,
                                 16384, 24576, 32768, 49152, 65536};

bool SparseIsFaster(const BreakEvenPoint& point) {
  return point.sparse_ms && *point.sparse_ms < point.dense_ms;
}

}  // namespace

double BreakEvenPoint::auto_loss() const {
  return auto_ms / std::min(dense_ms, sparse_ms.value_or(dense_ms)) - 1;
}

std::vector<DecodeCase> BreakEvenCases() {
  std::vector<DecodeCase> cases;
  for (const int64_t context : kContexts) cases.push_back({1, context});
  return cases;
}

std::vector<BreakEvenPoint> BreakEvenPoints(const std::vector<DecodeRow>& rows) {
  std::vector<BreakEvenPoint> points;
  for (const DecodeRow& row : rows) {
    if (points.empty() || points.back().context != row.what.context) {
      points.push_back({row.what.context, 0, 0, std::nullopt});
    }
    BreakEvenPoint& point = points.back();
    if (row.asked == SelectionMode::kOff) point.dense_ms = row.step_ms();
    if (row.asked == SelectionMode::kAuto) point.auto_ms = row.step_ms();
    if (row.asked == SelectionMode::kOn && row.sparse) point.sparse_ms = row.step_ms();
  }
  return points;
}

std::optional<double> BreakEvenContext(const std::vector<BreakEvenPoint>& points) {
  size_t first = points.size();
  while (first > 0 && SparseIsFaster(points[first - 1])) --first;
  if (first == points.size()) return std::nullopt;
  const BreakEvenPoint& above = points[first];
  if (first == 0 || !points[first - 1].sparse_ms) return static_cast<double>(above.context);
  const BreakEvenPoint& below = points[first - 1];
  const double loss_below = *below.sparse_ms - below.dense_ms;  // at least 0
  const double gain_above = above.dense_ms - *above.sparse_ms;
  return static_cast<double>(below.context) + static_cast<double>(above.context - below.context) *
                                                  loss_below / (loss_below + gain_above);
}

int64_t RecommendedMinContext(double break_even) {
  CHECK_GE(break_even, 0.0);
  const double chunks = std::ceil(break_even / static_cast<double>(kAttentionChunkTokens));
  return static_cast<int64_t>(chunks) * kAttentionChunkTokens;
}

void PrintBreakEven(const std::vector<BreakEvenPoint>& points, int64_t min_context) {
  std::printf(
      "\n| context | dense ms | sparse ms | auto ms (min_context %lld) | auto over dense |"
      " auto over the better |\n|---|---|---|---|---|---|\n",
      static_cast<long long>(min_context));
  for (const BreakEvenPoint& point : points) {
    std::printf("| %lld | %.3f | ", static_cast<long long>(point.context), point.dense_ms);
    if (point.sparse_ms) {
      std::printf("%.3f", *point.sparse_ms);
    } else {
      std::printf("-");
    }
    std::printf(" | %.3f | %+.1f %% | %+.1f %% |\n", point.auto_ms,
                100 * (point.auto_ms / point.dense_ms - 1), 100 * point.auto_loss());
  }
  const std::optional<double> at = BreakEvenContext(points);
  if (at) {
    std::printf("\nsparse is faster from %.0f tokens on; recommended min_context: %lld\n", *at,
                static_cast<long long>(RecommendedMinContext(*at)));
  } else {
    std::printf("\nsparse is not faster at the longest context; no min_context recommended\n");
  }
  std::fflush(stdout);
}

nlohmann::json BreakEvenJson(const std::vector<BreakEvenPoint>& points, int64_t min_context) {
  nlohmann::json json = {{"context", nullptr},
                         {"recommended_min_context", nullptr},
                         {"auto_min_context", min_context}};
  if (const std::optional<double> at = BreakEvenContext(points)) {
    json["context"] = *at;
    json["recommended_min_context"] = RecommendedMinContext(*at);
  }
  for (const BreakEvenPoint& point : points) {
    nlohmann::json& row = json["points"].emplace_back();
    row = {{"context", point.context},
           {"dense_ms", point.dense_ms},
           {"sparse_ms", nullptr},
           {"auto_ms", point.auto_ms},
           {"auto_loss_percent", 100 * point.auto_loss()}};
    if (point.sparse_ms) row["sparse_ms"] = *point.sparse_ms;
  }
  return json;
}

}  // namespace tamis
