// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/lab_inputs.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kernels/cpu_threads.h"
#include "launcher/bench/bench_progress.h"
#include "launcher/choose_device.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file.is_open() || file.bad() || text.str().empty()) {
    return absl::NotFoundError(absl::StrCat("--texts: ", path.string(), ": cannot be read"));
  }
  return text.str();
}

absl::StatusOr<std::vector<std::filesystem::path>> FilesOf(const std::vector<std::string>& paths) {
  std::vector<std::filesystem::path> files;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      files.emplace_back(path);
      continue;
    }
    std::vector<std::filesystem::path> inside;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.path().extension() == ".txt") inside.push_back(entry.path());
    }
    if (inside.empty()) {
      return absl::NotFoundError(absl::StrCat("--texts: ", path, ": has no .txt files"));
    }
    std::sort(inside.begin(), inside.end());
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

absl::Status CheckFlags(const LabFlags& flags, const ModelConfig& model) {
  for (const int64_t context_len : flags.context_lens) {
    if (context_len > flags.decode_tokens && context_len <= model.max_positions) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--context-lens: ", context_len,
                     "; allowed are lengths above --decode-tokens (", flags.decode_tokens,
                     ") and up to ", model.max_positions, ", which the model was made for"));
  }
  if (const std::string feature = UnsupportedFeature(model); !feature.empty()) {
    return absl::UnimplementedError(absl::StrCat(
        flags.model, ": the model needs ", feature, ", which is not supported"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddLabFlags(CLI::App* app, LabFlags* flags) {
  app->add_option("--model", flags->model, "a .gguf file or a Hugging Face directory")->required();
  app->add_option("--load-format", flags->load_format, "auto, gguf, safetensors, dummy")
      ->check(CLI::IsMember({"auto", "gguf", "safetensors", "dummy"}));
  app->add_option("--texts", flags->texts,
                  "text files, or folders of .txt files; bench/gather_texts.py gathers some")
      ->required();
  app->add_option("--device", flags->device, "auto, cpu, cuda (default auto)")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app->add_option("--context-lens", flags->context_lens,
                  "tokens of the sequences when decoding ends; each text that is long enough is "
                  "used at each length (default 2048,4096,8192)")
      ->delimiter(',');
  app->add_option("--decode-tokens", flags->decode_tokens,
                  "tokens decoded of each text at each length (default 128)")
      ->check(CLI::Range(1, 1 << 16));
  app->add_option("--rows", flags->rows, "sequences decoded in one step (default 64)")
      ->check(CLI::Range(1, 4096));
  app->add_option("--chunk-tokens", flags->chunk_tokens,
                  "tokens prefilled in one step (default 512)")
      ->check(CLI::Range(1, 1 << 16));
  app->add_option("--cpu-threads", flags->threads, "host threads (default: all cores)")
      ->check(CLI::Range(0, 1024));
  app->add_option("--json", flags->json_path, "a file that gets everything measured");
}

absl::StatusOr<LabInputs> OpenLabInputs(const LabFlags& flags) {
  LabInputs inputs;
  LoadFormat format = LoadFormat::kAuto;
  if (flags.load_format == "gguf") format = LoadFormat::kGguf;
  if (flags.load_format == "safetensors") format = LoadFormat::kSafetensors;
  if (flags.load_format == "dummy") format = LoadFormat::kDummy;
  TAMIS_ASSIGN_OR_RETURN(inputs.files, OpenModel(flags.model, format, /*seed=*/0));
  TAMIS_RETURN_IF_ERROR(CheckFlags(flags, inputs.files->config()));
  TAMIS_ASSIGN_OR_RETURN(inputs.tokenizer, Tokenizer::Open(flags.model));
  ServeConfig config;
  config.ranks.device = flags.device;
  TAMIS_ASSIGN_OR_RETURN(const ChosenDevice device, ChooseDevice(config, World{}));
  inputs.device = device.kind;
  inputs.device_name = device.name;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  inputs.num_threads = flags.threads > 0 ? static_cast<int>(flags.threads) : cores;
  SetCpuMathThreads(inputs.num_threads);
  return inputs;
}

absl::StatusOr<std::vector<LabText>> ReadTexts(const std::vector<std::string>& paths,
                                               const Tokenizer& tokenizer) {
  TAMIS_ASSIGN_OR_RETURN(const std::vector<std::filesystem::path> files, FilesOf(paths));
  std::vector<LabText> texts;
  for (const std::filesystem::path& file : files) {
    TAMIS_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
    absl::StatusOr<std::vector<int32_t>> tokens =
        tokenizer.Encode(text, /*add_bos=*/true, /*parse_special=*/false);
    if (!tokens.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--texts: ", file.string(), ": ", tokens.status().message()));
    }
    texts.push_back({file.stem().string(), *std::move(tokens)});
  }
  return texts;
}

absl::StatusOr<std::unique_ptr<Lab>> MakeLab(LabInputs& inputs, const LabFlags& flags,
                                             const PlannedCases& planned,
                                             int64_t decode_tokens_max) {
  const ModelConfig& model = inputs.files->config();
  const ModelShard shard = ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size,
                                      model.vocab_size, 0, 1);
  LabLimits limits;
  limits.context_len_max = 0;
  for (const PlannedCase& item : planned.cases) {
    const auto tokens = item.fork_at + static_cast<int64_t>(item.suffix.size());
    limits.context_len_max = std::max(limits.context_len_max, tokens + decode_tokens_max);
  }
  limits.chunk_tokens = flags.chunk_tokens;
  limits.num_blocks = BlocksOf(planned, limits.block_tokens, flags.rows, decode_tokens_max);
  const KvCacheConfig cache{limits.block_tokens, limits.num_blocks, DType::kF32};
  const uint64_t bytes =
      KvBytesPerBlock(model, shard, cache) * static_cast<uint64_t>(limits.num_blocks) +
      WeightBytes(model, shard, DType::kF32);
  const auto present = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                       static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  if (inputs.device == DeviceKind::kCpu && bytes > present / 10 * 9) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "weights and prefilled texts take ", bytes >> 20, " MiB, and this host has ", present >> 20,
        " MiB of memory; fewer --texts, shorter --context-lens or fewer --rows take less"));
  }
  ModelWeights weights = AllocateWeights(model, shard, DType::kF32, inputs.device);
  {
    BenchProgress progress("loading", 1000);
    TAMIS_RETURN_IF_ERROR(
        inputs.files->Load(shard, weights, [&](uint64_t done, uint64_t total) {
          progress.Update(static_cast<int64_t>(1000 * done / std::max<uint64_t>(total, 1)));
        }));
  }
  return std::make_unique<Lab>(model, std::move(weights), limits, inputs.device);
}

absl::Status WriteWholeFile(const std::string& path, const std::string& text) {
  const std::string partial = path + ".partial";
  std::ofstream file(partial, std::ios::binary);
  file << text;
  file.close();
  if (file.fail() || std::rename(partial.c_str(), path.c_str()) != 0) {
    return absl::InternalError(absl::StrCat(path, ": cannot be written"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> ParseLayers(const std::string& flag,
                                                 const std::string& text) {
  std::vector<int32_t> layers;
  for (const auto& part : absl::StrSplit(text, ',')) {
    int32_t layer = 0;
    if (!absl::SimpleAtoi(part, &layer)) {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, ": \"", text, "\"; allowed are layer numbers separated by commas"));
    }
    layers.push_back(layer);
  }
  return layers;
}

}  // namespace tamis
