// SPDX-License-Identifier: Apache-2.0
// One rank's worker for `tamis bench decode`: sized for the cases, its cache full of random values.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/bench/decode_case.h"
#include "launcher/choose_device.h"
#include "launcher/serve_config.h"
#include "parallel/groups.h"
#include "parallel/world.h"
#include "runtime/engine/memory_budget.h"
#include "runtime/engine/scheduler.h"
#include "runtime/engine/worker.h"

namespace tamis {

struct DecodeRank {
  ModelConfig model;
  ModelShard shard;
  DType dtype = DType::kF32;
  ChosenDevice device;
  SchedulerConfig scheduler;
  SelectionLayers layers;
  MemoryBudget budget;
  std::unique_ptr<Worker> worker;
};

// `config.model.path` is a name of model_shapes.h, with dummy weights, or what `tamis serve` takes.
// Every rank calls it at the same time; `collectives` outlives the worker. ResourceExhausted,
// before anything is allocated, if memory does not suffice.
absl::StatusOr<DecodeRank> MakeDecodeRank(const ServeConfig& config,
                                          const std::vector<DecodeCase>& cases, const World& world,
                                          const ChosenDevice& device, Control& control,
                                          Collectives& collectives);

}  // namespace tamis
