// SPDX-License-Identifier: Apache-2.0
// After each step that can fail on one rank alone, all ranks agree before they go on.
#include "launcher/load_rank.h"

#include <algorithm>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/cpu_threads.h"
#include "launcher/agree.h"
#include "launcher/host_checks.h"
#include "launcher/size_cache.h"
#include "launcher/version.h"
#include "parallel/cuda_group.h"
#include "parallel/shard.h"
#include "runtime/engine/memory_budget.h"
#include "runtime/load/load_model.h"
#include "runtime/load/progress.h"
#include "runtime/model/selection_check.h"
#include "runtime/status_macros.h"
#include "spdlog/spdlog.h"

namespace tamis {
namespace {

LoadFormat FormatOf(const std::string& name) {
  if (name == "gguf") return LoadFormat::kGguf;
  if (name == "safetensors") return LoadFormat::kSafetensors;
  if (name == "dummy") return LoadFormat::kDummy;
  return LoadFormat::kAuto;
}

// On a CPU the halves save memory but cost time, so auto is float32 there.
DType NamedDType(const std::string& name, DeviceKind device) {
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  if (name == "float32") return DType::kF32;
  return device == DeviceKind::kCuda ? DType::kBF16 : DType::kF32;
}

absl::Status CheckModel(const ServeConfig& config, const ModelConfig& model, const World& world,
                        DeviceKind device) {
  const auto bad = [&](const std::string& problem) {
    return absl::InvalidArgumentError(absl::StrCat(config.model.path, ": ", problem));
  };
  if (const std::string problem = ModelConfigProblem(model); !problem.empty()) return bad(problem);
  if (const std::string feature = UnsupportedFeature(model); !feature.empty()) {
    return absl::UnimplementedError(
        absl::StrCat(config.model.path, ": the model needs ", feature, ", which is not supported"));
  }
  constexpr int64_t kGpuHeadDimMax = 256;  // of scalar attention, which takes what others do not
  if (device == DeviceKind::kCuda && model.head_dim > kGpuHeadDimMax) {
    return bad(absl::StrCat("head_dim is ", model.head_dim, "; on GPUs allowed are at most ",
                            kGpuHeadDimMax));
  }
  const std::string split = ShardProblem(model.num_q_heads, model.num_kv_heads, model.ffn_size,
                                         model.vocab_size, world.size);
  if (!split.empty()) return bad(split);
  if (config.model.max_model_len > model.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("--max-model-len: ", config.model.max_model_len,
                                                   "; allowed are at most ", model.max_positions,
                                                   ", which the model was made for"));
  }
  return absl::OkStatus();
}

// What must be the same everywhere: build, options and model.
std::string Fingerprint(const ServeConfig& config, const ModelConfig& model, DeviceKind device) {
  return absl::StrCat(
      "version: ", kVersion, "\nbuild: ", BuildDigest(), "\n",
      absl::StrJoin(Describe(config), "\n"),
      "\nruns on: ", device == DeviceKind::kCuda ? "cuda" : "cpu",
      "\nhidden_size: ", model.hidden_size, "\nnum_layers: ", model.num_layers,
      "\nnum_q_heads: ", model.num_q_heads, "\nnum_kv_heads: ", model.num_kv_heads,
      "\nhead_dim: ", model.head_dim, "\nffn_size: ", model.ffn_size,
      "\nvocab_size: ", model.vocab_size, "\nmax_positions: ", model.max_positions,
      "\nnorm_eps: ", model.norm_eps, "\nrope_theta: ", model.rope.theta,
      "\nrope_scaling: ", static_cast<int>(model.rope.scaling), " ",
      absl::StrJoin({model.rope.factor, model.rope.low_freq_factor, model.rope.high_freq_factor},
                    " "),
      " ", model.rope.original_max_positions, " ",
      absl::StrJoin(model.rope.frequency_divisors, " "),
      "\ntied_embeddings: ", model.tied_embeddings,
      "\neos_token_ids: ", absl::StrJoin(model.eos_token_ids, " "),
      "\nbos_token_id: ", model.bos_token_id);
}

}  // namespace

absl::StatusOr<LoadedRank> LoadRank(const ServeConfig& config, const World& world, Group& group,
                                    const LoadHooks& hooks) {
  Control& control = *group.control;
  const auto wanted_ranks = config.ranks.tensor_parallel_size;
  if (wanted_ranks != 0 && wanted_ranks != world.size) {
    return absl::InvalidArgumentError(absl::StrCat("--tensor-parallel-size: ", wanted_ranks,
                                                   "; allowed is ", world.size,
                                                   ", the number of ranks that mpirun started"));
  }
  const absl::StatusOr<ChosenDevice> device = ChooseDevice(config, world);
  TAMIS_RETURN_IF_ERROR(AgreeOnStatus(control, device.status()));
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  SetCpuMathThreads(config.ranks.cpu_threads > 0 ? static_cast<int>(config.ranks.cpu_threads)
                                                 : std::max(1, cores / world.local_size));

  auto files = OpenModel(config.model.path, FormatOf(config.model.load_format), config.model.seed);
  absl::Status status = files.status();
  if (status.ok()) status = CheckModel(config, (*files)->config(), world, device->kind);
  TAMIS_RETURN_IF_ERROR(AgreeOnStatus(control, status));
  LoadedRank loaded;
  loaded.model = (*files)->config();
  loaded.device = *device;
  loaded.dtype = NamedDType(config.model.dtype, device->kind);
  TAMIS_RETURN_IF_ERROR(AgreeOnText(control, Fingerprint(config, loaded.model, device->kind)));
  CountSharers(control, &loaded.device);
  if (device->kind == DeviceKind::kCuda) group = OnCuda(std::move(group));

  const ModelConfig& model = loaded.model;
  const ModelShard shard = ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size,
                                      model.vocab_size, world.rank, world.size);
  const auto selection_problem = [&](int64_t max_model_len) -> absl::Status {
    std::string problem = SelectionConfigProblem(config.selection, model.num_layers, max_model_len);
    if (problem.empty()) {
      problem = SelectionDeviceProblem(config.selection, device->kind, config.schedule.max_num_seqs,
                                       (model.num_kv_heads + world.size - 1) / world.size);
    }
    if (problem.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("selection: ", problem));
  };
  TAMIS_RETURN_IF_ERROR(selection_problem(
      config.model.max_model_len > 0 ? config.model.max_model_len : model.max_positions));
  WorkerConfig worker;
  worker.device = device->kind;
  worker.enforce_eager = config.ranks.enforce_eager;
  worker.log = [](const std::string& line) { spdlog::info("{}", line); };
  worker.selection = config.selection;
  if (config.selection.debug_check) worker.observer = MakeSelectionCheck(control);
  worker.kv.block_tokens = BlockTokens(config, device->kind);
  worker.kv.dtype = loaded.dtype;
  TAMIS_ASSIGN_OR_RETURN(loaded.scheduler, SizeCache(config, {model, shard, loaded.dtype}, worker,
                                                     loaded.device, world, control));
  if (const std::string problem = SchedulerConfigProblem(loaded.scheduler); !problem.empty()) {
    return absl::InvalidArgumentError(problem);
  }
  TAMIS_RETURN_IF_ERROR(selection_problem(loaded.scheduler.max_model_len));
  loaded.scheduler.num_groups =
      MakeSelectionLayers(config.selection, model.num_layers).groups.num_groups;
  worker.kv.num_blocks = loaded.scheduler.num_blocks;
  worker.limits = StepLimitsOf(loaded.scheduler);
  const MemoryBudget budget = ComputeMemoryBudget(model, shard, loaded.dtype, worker);
  if (world.rank == 0) {
    spdlog::info("memory of rank 0, {}:\n{}", device->name, RenderMemoryBudget(budget));
  }
  TAMIS_RETURN_IF_ERROR(CheckMemory(world, control, loaded.device, budget));
  TAMIS_RETURN_IF_ERROR(AgreeOnStatus(control, hooks.before_weights()));

  ModelWeights weights = AllocateWeights(model, shard, loaded.dtype, device->kind);
  const auto log = [](std::string_view line) { spdlog::info("{}", line); };
  status = (*files)->Load(shard, weights, ShowProgress(world.rank, log));
  TAMIS_RETURN_IF_ERROR(AgreeOnStatus(control, status));
  hooks.after_weights();
  loaded.worker =
      std::make_unique<Worker>(worker, model, shard, std::move(weights), *group.collectives);
  return loaded;
}

}  // namespace tamis
