// SPDX-License-Identifier: Apache-2.0
#include "launcher/size_cache.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "launcher/agree.h"
#include "launcher/host_checks.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

constexpr double kGpuMemoryUtilization = 0.9;  // unless given
constexpr int64_t kMiB = int64_t{1} << 20;
// Unless given. Longer steps make prompts no faster, and decoding sequences wait for them.
constexpr int64_t kCpuStepTokens = 512, kGpuStepTokens = 8192;

int64_t StepTokens(const ServeConfig& config, const ModelConfig& model, DeviceKind device) {
  const int64_t seqs = config.schedule.max_num_seqs;
  if (config.schedule.max_num_batched_tokens > 0) return config.schedule.max_num_batched_tokens;
  if (device == DeviceKind::kCpu) return std::max(seqs, kCpuStepTokens);
  const int64_t given = config.model.max_model_len;
  const int64_t longest = given > 0 ? given : model.max_positions;
  return std::max(seqs, std::min(kGpuStepTokens, seqs * longest));  // no more can ever run
}

// What this rank may take of its GPU, all in all. What is in use already is not ours.
int64_t GpuBytes(const ServeConfig& config, const ChosenDevice& device) {
  const double given = config.cache.gpu_memory_utilization;
  const DeviceMemory memory = CudaMemory();
  const auto allowed = static_cast<int64_t>((given > 0 ? given : kGpuMemoryUtilization) *
                                            static_cast<double>(memory.total));
  return (allowed - static_cast<int64_t>(memory.total - memory.free)) / device.num_ranks;
}

// KV bytes of this rank by default, for sequences of at most `max_model_len`.
class DefaultKvBytes {
 public:
  DefaultKvBytes(const ServeConfig& config, const RankModel& rank, const WorkerConfig& worker,
                 const ChosenDevice& device, int num_ranks)
      : rank_(rank),
        worker_(worker),
        bytes_(device.kind == DeviceKind::kCpu ? kDefaultCpuKvBytes / num_ranks
                                               : GpuBytes(config, device)) {}

  int64_t For(SchedulerConfig scheduler, int64_t max_model_len) const {
    if (worker_.device == DeviceKind::kCpu) return bytes_;
    scheduler.max_model_len = max_model_len;
    return bytes_ - static_cast<int64_t>(OtherBytes(scheduler));
  }
  absl::Status TooLittle(const SchedulerConfig& scheduler) const {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a rank may take ", bytes_ / kMiB, " MiB of its GPU, and its model and work space take ",
        static_cast<int64_t>(OtherBytes(scheduler)) / kMiB,
        " MiB, which leaves nothing for the KV cache; raise --gpu-memory-utilization, lower "
        "--max-num-batched-tokens, --max-num-seqs or --max-model-len, or use more GPUs"));
  }

 private:
  // On the GPU, besides the cache.
  size_t OtherBytes(const SchedulerConfig& scheduler) const {
    WorkerConfig worker = worker_;
    worker.limits = StepLimitsOf(scheduler);
    worker.kv.num_blocks = 0;
    return ComputeMemoryBudget(rank_.model, rank_.shard, rank_.dtype, worker).device_bytes();
  }

  const RankModel& rank_;
  const WorkerConfig& worker_;
  int64_t bytes_;  // of the cache on CPUs, of everything on GPUs
};

}  // namespace

int64_t BlockTokens(const ServeConfig& config, DeviceKind device) {
  // Long runs of memory: on an H200, 128K batch 4 takes 20.31 ms with 64 tokens, 20.85 with 16.
  constexpr int64_t kOnGpus = 64, kOnCpus = 16;
  if (config.cache.block_size > 0) return config.cache.block_size;
  return device == DeviceKind::kCuda ? kOnGpus : kOnCpus;
}

absl::StatusOr<SchedulerConfig> SizeCache(const ServeConfig& config, const RankModel& rank,
                                          const WorkerConfig& worker, const ChosenDevice& device,
                                          const World& world, Control& control) {
  SchedulerConfig scheduler;
  scheduler.max_num_seqs = config.schedule.max_num_seqs;
  scheduler.max_logprobs = std::min<int64_t>(scheduler.max_logprobs, rank.model.vocab_size);
  scheduler.max_num_batched_tokens = StepTokens(config, rank.model, device.kind);
  scheduler.max_waiting = config.schedule.max_waiting;
  scheduler.block_tokens = worker.kv.block_tokens;
  scheduler.selection = config.selection;
  scheduler.max_model_len = config.model.max_model_len;
  const KvRequest request{config.cache.num_blocks, config.cache.bytes};
  const DefaultKvBytes default_bytes(config, rank, worker, device, world.size);
  const size_t bytes_per_block = KvBytesPerBlock(rank.model, rank.shard, worker.kv);
  const auto block_bytes = static_cast<int64_t>(bytes_per_block);

  if (scheduler.max_model_len == 0) {
    const int64_t bytes = request.kv_bytes > 0
                              ? request.kv_bytes
                              : default_bytes.For(scheduler, rank.model.max_positions);
    const int64_t blocks = request.num_blocks > 0 ? request.num_blocks : bytes / block_bytes;
    const int64_t tokens =
        AgreeOnNumBlocks(control, std::max<int64_t>(blocks, 1)) * worker.kv.block_tokens;
    scheduler.max_model_len = std::min(rank.model.max_positions, tokens);
  }
  const int64_t bytes = default_bytes.For(scheduler, scheduler.max_model_len);
  const bool by_default = request.num_blocks == 0 && request.kv_bytes == 0;
  const bool on_gpu = device.kind == DeviceKind::kCuda;
  const bool enough = !by_default || !on_gpu || bytes >= block_bytes;
  TAMIS_RETURN_IF_ERROR(
      AgreeOnStatus(control, enough ? absl::OkStatus() : default_bytes.TooLittle(scheduler)));
  int64_t wanted = NumBlocksWanted(scheduler, request, bytes, bytes_per_block);
  // CPU ranks have room for one sequence whatever its length; a GPU's memory ends.
  if (by_default && on_gpu) wanted = std::min(wanted, bytes / block_bytes);
  scheduler.num_blocks = AgreeOnNumBlocks(control, wanted);
  return scheduler;
}

absl::Status CheckMemory(const World& world, Control& control, const ChosenDevice& device,
                         const MemoryBudget& budget) {
  const std::string mine = absl::StrCat(world.host, "\n");
  uint64_t needed = 0;
  for (const std::string& text : control.AllGather(absl::StrCat(mine, budget.host_bytes()))) {
    uint64_t theirs = 0;
    if (absl::StartsWith(text, mine) && absl::SimpleAtoi(text.substr(mine.size()), &theirs)) {
      needed += theirs;
    }
  }
  const uint64_t present = HostMemoryBytes();
  const char* what_decides =
      "the KV cache, --max-num-batched-tokens, --max-num-seqs and --max-model-len decide how much";
  absl::Status status;
  if (needed > present) {
    status = absl::ResourceExhaustedError(absl::StrCat(
        "the ranks of host ", world.host, " need ", needed >> 20, " MiB together, and it has ",
        present >> 20, " MiB of memory for them; ", what_decides));
  }
  if (device.kind == DeviceKind::kCuda) {
    const size_t free = CudaMemory().free / static_cast<size_t>(device.num_ranks);
    if (budget.device_bytes() > free) {
      status = absl::ResourceExhaustedError(
          absl::StrCat("a rank needs ", budget.device_bytes() >> 20, " MiB of ", device.name,
                       ", and ", free >> 20, " MiB are free for it; ", what_decides));
    }
  }
  return AgreeOnStatus(control, status);
}

}  // namespace tamis
