// SPDX-License-Identifier: Apache-2.0
// Stands in for metrics.cc where prometheus-cpp is left out (TAMIS_METRICS=OFF).
#include "launcher/metrics.h"

namespace tamis {

struct Metrics::State {};

StepShape ShapeOf(const StepPlan&) { return {}; }

absl::StatusOr<std::unique_ptr<Metrics>> Metrics::Start(const MetricsOptions&,
                                                        std::function<MetricsSnapshot()>) {
  return absl::UnimplementedError("--metrics-port: this build has no metrics");
}

Metrics::Metrics(std::shared_ptr<State> state) : state_(std::move(state)) {}
Metrics::~Metrics() = default;
int Metrics::port() const { return 0; }
RequestObserver Metrics::observer() { return {}; }
void Metrics::ObserveStep(const StepShape&, double) {}
void Metrics::ObserveAllReduce(double) {}

}  // namespace tamis
