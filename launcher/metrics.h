// SPDX-License-Identifier: Apache-2.0
// Prometheus metrics of rank 0 over HTTP. Names, labels and buckets are vLLM's where it has the
// metric (vllm/v1/metrics/loggers.py), so its dashboards and autoscaling rules work; what only
// Tamis has begins with "tamis:".
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"
#include "runtime/server/backend.h"

namespace tamis {

struct MetricsOptions {
  std::string host;
  int port = 0;
  std::string model_name;     // a label
  int64_t max_model_len = 0;  // bounds the buckets of token counts
};

// What is read when somebody asks.
struct MetricsSnapshot {
  EngineStats engine;
  std::vector<std::pair<int, double>> heartbeat_ages_s;  // by rank
};

// What of a step is counted; num_tokens 0 = it ran nothing.
struct StepShape {
  int64_t num_tokens = 0;
  bool prefills = false;  // holds chunks of prefill
};
StepShape ShapeOf(const StepPlan& plan);

// Everything may be called from any thread.
class Metrics {
 public:
  // Listens from here on. `snapshot` is called on the listener's threads until the object ends.
  // UNAVAILABLE if the address cannot be had, UNIMPLEMENTED in a build without prometheus-cpp.
  static absl::StatusOr<std::unique_ptr<Metrics>> Start(const MetricsOptions& options,
                                                        std::function<MetricsSnapshot()> snapshot);
  ~Metrics();

  int port() const;
  // Valid as long as this object.
  RequestObserver observer();
  void ObserveStep(const StepShape& shape, double seconds);
  void ObserveAllReduce(double seconds);

 private:
  struct State;
  explicit Metrics(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // the listener holds a weak pointer
};

}  // namespace tamis
