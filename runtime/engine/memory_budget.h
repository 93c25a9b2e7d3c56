// SPDX-License-Identifier: Apache-2.0
// Where a rank's memory goes: the arithmetic, in one place, and the table printed once at start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "parallel/control.h"
#include "runtime/engine/scheduler.h"
#include "runtime/engine/worker.h"

namespace tamis {

// The sizes that the scheduler's limits impose on a step.
StepLimits StepLimitsOf(const SchedulerConfig& config);

// How much KV memory the operator wants; at most one of the two is given.
struct KvRequest {
  int64_t num_blocks = 0;  // --num-kv-blocks; 0 = not given
  int64_t kv_bytes = 0;    // --kv-cache-memory-bytes, of this rank; 0 = not given
};

// The KV memory of all CPU ranks together when the operator says nothing.
constexpr int64_t kDefaultCpuKvBytes = int64_t{512} << 20;

// Blocks for this rank alone: as requested, else `default_kv_bytes` of this rank, but at least one
// sequence of max_model_len and at most what max_num_seqs of them can use.
int64_t NumBlocksWanted(const SchedulerConfig& config, const KvRequest& request,
                        int64_t default_kv_bytes, size_t bytes_per_block);

// The least over ranks; every rank calls it.
int64_t AgreeOnNumBlocks(Control& control, int64_t wanted);

// What a GPU rank takes besides what is allocated by name: kernels' code, cuBLASLt, graphs.
constexpr size_t kGpuRuntimeBytes = size_t{512} << 20;

struct MemoryBudget {
  DeviceKind device = DeviceKind::kCpu;  // where all of it is, but for `pinned`
  size_t weights = 0;
  size_t kv = 0;
  size_t activations = 0;
  size_t scratch = 0;
  size_t inputs = 0;   // of steps
  size_t runtime = 0;  // kGpuRuntimeBytes, or nothing on CPUs
  size_t pinned = 0;   // host memory through which a GPU rank's steps and weights pass
  int64_t num_blocks = 0;
  int64_t block_tokens = 0;

  size_t total() const { return weights + kv + activations + scratch + inputs + runtime; }
  size_t device_bytes() const { return device == DeviceKind::kCpu ? 0 : total(); }
  size_t host_bytes() const { return device == DeviceKind::kCpu ? total() : pinned; }
};

MemoryBudget ComputeMemoryBudget(const ModelConfig& model, const ModelShard& shard, DType dtype,
                                 const WorkerConfig& config);

// A table of several lines, the last one without a line break.
std::string RenderMemoryBudget(const MemoryBudget& budget);

}  // namespace tamis
