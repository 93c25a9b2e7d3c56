// SPDX-License-Identifier: Apache-2.0
// How long sequences may be and how many KV blocks there are, from options and memory.
#pragma once

#include "absl/status/statusor.h"
#include "launcher/choose_device.h"
#include "launcher/serve_config.h"
#include "parallel/control.h"
#include "runtime/engine/memory_budget.h"

namespace tamis {

// One rank's model, before it is allocated.
struct RankModel {
  const ModelConfig& model;
  const ModelShard& shard;
  DType dtype;
};

// Tokens in a block of the cache: --block-size, or what is fastest on the device.
int64_t BlockTokens(const ServeConfig& config, DeviceKind device);

// The limits of the scheduler, equal on every rank; every rank calls it. Without --max-model-len it
// is the model's own, as far as the cache reaches. On GPUs the cache takes what
// --gpu-memory-utilization leaves besides everything else; errors say what leaves too little.
// `worker` has device, selection, block size and dtype.
absl::StatusOr<SchedulerConfig> SizeCache(const ServeConfig& config, const RankModel& rank,
                                          const WorkerConfig& worker, const ChosenDevice& device,
                                          const World& world, Control& control);

// Refuses what the ranks of this host cannot hold together, in host memory or on this rank's GPU.
// Every rank calls it, before it allocates: a failed allocation ends the process without a word on
// what to lower.
absl::Status CheckMemory(const World& world, Control& control, const ChosenDevice& device,
                         const MemoryBudget& budget);

}  // namespace tamis
