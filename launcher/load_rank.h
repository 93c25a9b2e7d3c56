// SPDX-License-Identifier: Apache-2.0
// From files to a worker: what every rank does before it can serve.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/choose_device.h"
#include "launcher/serve_config.h"
#include "parallel/groups.h"
#include "parallel/world.h"
#include "runtime/engine/scheduler.h"
#include "runtime/engine/worker.h"
#include "runtime/model/config.h"

namespace tamis {

struct LoadedRank {
  ModelConfig model;
  ChosenDevice device;
  DType dtype = DType::kF32;
  SchedulerConfig scheduler;
  std::unique_ptr<Worker> worker;
};

struct LoadHooks {
  // When the model and its memory are known to be good: the last that can fail quickly.
  std::function<absl::Status()> before_weights = absl::OkStatus;
  // When the weights are there: from here on nothing waits for a disk.
  std::function<void()> after_weights = [] {};
};

// Every rank calls it at the same time; the error is the same on all of them. `group` outlives the
// worker; on GPUs its collectives are exchanged for ones that take CUDA tensors.
absl::StatusOr<LoadedRank> LoadRank(const ServeConfig& config, const World& world, Group& group,
                                    const LoadHooks& hooks);

}  // namespace tamis
