// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/decode_rank.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/ops.h"
#include "launcher/bench/model_shapes.h"
#include "launcher/size_cache.h"
#include "parallel/shard.h"
#include "runtime/load/load_model.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

constexpr uint64_t kKvSeed = 0x6b76;

DType WantedDType(const ServeConfig& config, DeviceKind device) {
  if (config.model.dtype == "float32") return DType::kF32;
  if (config.model.dtype == "float16") return DType::kF16;
  if (config.model.dtype == "bfloat16") return DType::kBF16;
  return device == DeviceKind::kCuda ? DType::kBF16 : DType::kF32;
}

// Null files: a shape known by name.
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenFiles(const ServeConfig& config) {
  const std::string& path = config.model.path;
  std::error_code error;
  const bool exists = std::filesystem::exists(path, error);
  if (!exists && ModelShape(path) != nullptr) return nullptr;
  if (!exists) {
    return absl::NotFoundError(absl::StrCat("--model: ", path, " is neither there nor one of ",
                                            absl::StrJoin(ModelShapeNames(), ", ")));
  }
  const std::string& format = config.model.load_format;
  return OpenModel(path,
                   format == "gguf"          ? LoadFormat::kGguf
                   : format == "safetensors" ? LoadFormat::kSafetensors
                   : format == "dummy"       ? LoadFormat::kDummy
                                             : LoadFormat::kAuto,
                   config.model.seed);
}

absl::Status CheckModel(const ModelConfig& model, const ServeConfig& config, int ranks) {
  std::string problem = ModelConfigProblem(model);
  if (problem.empty()) problem = UnsupportedFeature(model);
  if (problem.empty()) {
    problem = ShardProblem(model.num_q_heads, model.num_kv_heads, model.ffn_size, model.vocab_size,
                           ranks);
  }
  if (problem.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(config.model.path, ": ", problem));
}

SchedulerConfig SchedulerOf(const ServeConfig& config, const std::vector<DecodeCase>& cases,
                            const SelectionLayers& layers, DeviceKind device) {
  SchedulerConfig scheduler;
  scheduler.block_tokens = BlockTokens(config, device);
  scheduler.num_groups = layers.groups.num_groups;
  scheduler.selection = config.selection;
  scheduler.max_num_seqs = scheduler.max_num_batched_tokens = scheduler.max_model_len = 1;
  scheduler.max_logprobs = 0;
  for (const DecodeCase& one : cases) {
    const int64_t blocks = (one.context + scheduler.block_tokens - 1) / scheduler.block_tokens;
    scheduler.max_num_seqs = std::max(scheduler.max_num_seqs, one.batch);
    scheduler.max_model_len = std::max(scheduler.max_model_len, one.context);
    // A sequence is admitted only where each that runs keeps a block to grow into.
    scheduler.num_blocks = std::max(scheduler.num_blocks, one.batch * (blocks + 1));
    // All prompts in one step: they are not computed (assume_prefilled.h).
    scheduler.max_num_batched_tokens =
        std::max(scheduler.max_num_batched_tokens, one.batch * one.context);
  }
  const int64_t longest =
      (scheduler.max_model_len + scheduler.block_tokens - 1) / scheduler.block_tokens;
  scheduler.num_blocks = std::max(scheduler.num_blocks, longest);
  return scheduler;
}

// Unit variance: scores of a spread as random queries and keys have.
void FillCache(const KvCache& kv, int64_t num_layers, const Stream& stream) {
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    const KvPages& pages = kv.layer(layer);
    const int64_t rows = pages.num_blocks * pages.kv_heads_local * 2 * pages.block_tokens;
    const TensorView values(pages.data, {rows, pages.head_dim}, pages.dtype, pages.device);
    ops::FillRandom(values, kKvSeed + static_cast<uint64_t>(layer), 0, 0, 0.0f, std::sqrt(3.0f),
                    stream);
  }
  stream.Synchronize();
}

}  // namespace

absl::StatusOr<DecodeRank> MakeDecodeRank(const ServeConfig& config,
                                          const std::vector<DecodeCase>& cases, const World& world,
                                          const ChosenDevice& device, Control& control,
                                          Collectives& collectives) {
  TAMIS_ASSIGN_OR_RETURN(const std::unique_ptr<ModelFiles> files, OpenFiles(config));
  DecodeRank rank;
  rank.model = files ? files->config() : *ModelShape(config.model.path);
  TAMIS_RETURN_IF_ERROR(CheckModel(rank.model, config, collectives.size()));
  const ModelConfig& model = rank.model;
  rank.device = device;
  rank.dtype = WantedDType(config, device.kind);
  rank.shard = ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size, model.vocab_size,
                          collectives.rank(), collectives.size());
  rank.layers = MakeSelectionLayers(config.selection, model.num_layers);
  rank.scheduler = SchedulerOf(config, cases, rank.layers, device.kind);
  const std::string problem =
      SelectionConfigProblem(config.selection, model.num_layers, rank.scheduler.max_model_len);
  if (!problem.empty()) return absl::InvalidArgumentError(absl::StrCat("selection: ", problem));

  WorkerConfig worker;
  worker.device = device.kind;
  worker.selection = config.selection;
  worker.assume_prefilled = true;
  worker.time_steps = true;
  worker.enforce_eager = config.ranks.enforce_eager;
  worker.kv = {rank.scheduler.block_tokens, rank.scheduler.num_blocks, rank.dtype};
  worker.limits = StepLimitsOf(rank.scheduler);
  worker.limits.num_tokens_max = rank.scheduler.max_num_seqs;
  rank.budget = ComputeMemoryBudget(model, rank.shard, rank.dtype, worker);
  TAMIS_RETURN_IF_ERROR(CheckMemory(world, control, device, rank.budget));

  ModelWeights weights = AllocateWeights(model, rank.shard, rank.dtype, device.kind);
  const Stream stream = device.kind == DeviceKind::kCuda ? Stream::Cuda() : Stream::Cpu();
  if (files) {
    TAMIS_RETURN_IF_ERROR(files->Load(rank.shard, weights, nullptr));
  } else {
    FillDummyWeights(model, rank.shard, config.model.seed, weights, stream);
  }
  rank.worker =
      std::make_unique<Worker>(worker, model, rank.shard, std::move(weights), collectives);
  FillCache(rank.worker->kv(), model.num_layers, stream);
  return rank;
}

}  // namespace tamis
