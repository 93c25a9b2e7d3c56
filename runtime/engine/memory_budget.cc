// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/memory_budget.h"

#include <algorithm>
#include <cstring>
#include <iomanip>
#include <sstream>

#include "kernels/check.h"
#include "runtime/model/step_input_buffers.h"
#include "runtime/model/weight_writer.h"

namespace tamis {

StepLimits StepLimitsOf(const SchedulerConfig& config) {
  StepLimits limits;
  limits.num_tokens_max = config.max_num_batched_tokens;
  limits.logit_rows_max = config.max_num_seqs;
  limits.num_slots = config.max_num_seqs;
  limits.top_logprobs_max = config.max_logprobs;
  limits.context_len_max = config.max_model_len;
  limits.selection = SelectionLimitsOf(config.selection, config.max_model_len);
  return limits;
}

int64_t NumBlocksWanted(const SchedulerConfig& config, const KvRequest& request,
                        int64_t default_kv_bytes, size_t bytes_per_block) {
  CHECK_GT(bytes_per_block, 0u);
  const int64_t block_bytes = static_cast<int64_t>(bytes_per_block);
  if (request.num_blocks > 0) return request.num_blocks;
  if (request.kv_bytes > 0) return request.kv_bytes / block_bytes;
  const int64_t blocks_of_longest =
      (config.max_model_len + config.block_tokens - 1) / config.block_tokens;
  return std::clamp(default_kv_bytes / block_bytes, blocks_of_longest,
                    blocks_of_longest * config.max_num_seqs);
}

int64_t AgreeOnNumBlocks(Control& control, int64_t wanted) {
  char raw[sizeof(wanted)];
  std::memcpy(raw, &wanted, sizeof(wanted));
  int64_t least = wanted;
  for (const std::string& bytes : control.AllGather(std::string_view(raw, sizeof(raw)))) {
    int64_t theirs = 0;
    CHECK_EQ(bytes.size(), sizeof(theirs));
    std::memcpy(&theirs, bytes.data(), sizeof(theirs));
    least = std::min(least, theirs);
  }
  return least;
}

MemoryBudget ComputeMemoryBudget(const ModelConfig& model, const ModelShard& shard, DType dtype,
                                 const WorkerConfig& config) {
  MemoryBudget budget;
  budget.device = config.device;
  budget.weights = WeightBytes(model, shard, dtype);
  budget.kv = KvBytesPerBlock(model, shard, config.kv) * static_cast<size_t>(config.kv.num_blocks);
  budget.activations = ActivationBytes(model, shard, dtype, config.limits);
  budget.scratch = ScratchBytes(model, shard, dtype, config.device, config.limits);
  const int num_groups = MakeSelectionLayers(config.selection, model.num_layers).groups.num_groups;
  budget.inputs = StepInputBuffers::LayoutBytes(config.limits, num_groups, config.kv.block_tokens);
  if (config.device != DeviceKind::kCpu) {
    budget.runtime = kGpuRuntimeBytes;
    budget.pinned = StepInputBuffers::kNumStagings * budget.inputs + WeightWriter::kStagingBytes;
  }
  budget.num_blocks = config.kv.num_blocks;
  budget.block_tokens = config.kv.block_tokens;
  return budget;
}

std::string RenderMemoryBudget(const MemoryBudget& budget) {
  std::ostringstream table;
  table << std::fixed << std::setprecision(1);
  const auto row = [&table](const char* name, size_t bytes) {
    table << std::left << std::setw(12) << name << std::right << std::setw(10)
          << static_cast<double>(bytes) / (1 << 20) << " MiB";
  };
  row("weights", budget.weights);
  table << '\n';
  row("KV cache", budget.kv);
  table << "  (" << budget.num_blocks << " blocks of " << budget.block_tokens
        << " tokens: " << budget.num_blocks * budget.block_tokens << " tokens)\n";
  row("activations", budget.activations);
  table << '\n';
  row("scratch", budget.scratch);
  table << '\n';
  row("step inputs", budget.inputs);
  table << '\n';
  if (budget.device != DeviceKind::kCpu) {
    row("CUDA itself", budget.runtime);
    table << '\n';
  }
  row("total", budget.total());
  if (budget.device != DeviceKind::kCpu) {
    table << "  (on the GPU)\n";
    row("pinned", budget.pinned);
    table << "  (host memory)";
  }
  return table.str();
}

}  // namespace tamis
