// SPDX-License-Identifier: Apache-2.0
// A Hugging Face directory as a model: config.json, and one safetensors file or an index of many.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/load/formats.h"
#include "runtime/load/hf_config.h"
#include "runtime/load/json_depth.h"
#include "runtime/load/quote.h"
#include "runtime/load/safetensors.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

using nlohmann::json;

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

std::string_view Text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

absl::StatusOr<HfConfig> ReadConfig(const std::string& config_path) {
  TAMIS_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(config_path));
  TAMIS_ASSIGN_OR_RETURN(HfConfig config, ParseHfConfig(Text(file), config_path));
  const std::string generation_path =
      (std::filesystem::path(config_path).parent_path() / "generation_config.json").string();
  if (Exists(generation_path)) {
    TAMIS_ASSIGN_OR_RETURN(const MappedFile generation, MappedFile::Open(generation_path));
    TAMIS_RETURN_IF_ERROR(AddGenerationConfig(Text(generation), generation_path, &config.model));
  }
  TAMIS_RETURN_IF_ERROR(CheckConfig(config.model, config_path));
  return config;
}

// Tensor name to file name.
using WeightMap = std::map<std::string, std::string>;

absl::StatusOr<WeightMap> ReadIndex(const std::string& index_path) {
  TAMIS_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(index_path));
  if (NestsTooDeep(Text(file))) {
    return absl::DataLossError(
        absl::StrCat(index_path, ": nests deeper than ", kJsonDepthMax, " levels"));
  }
  const json parsed = json::parse(Text(file), nullptr, /*allow_exceptions=*/false);
  const json* map = nullptr;
  if (parsed.is_object()) {
    const auto found = parsed.find("weight_map");
    if (found != parsed.end() && found->is_object()) map = &*found;
  }
  if (map == nullptr) {
    return absl::DataLossError(
        absl::StrCat(index_path, ": not a JSON object with a \"weight_map\""));
  }
  WeightMap weight_map;
  for (const auto& [name, value] : map->items()) {
    const std::string file_name = value.is_string() ? value.get<std::string>() : "";
    // A name with a slash could leave the directory.
    if (file_name.empty() || file_name.find('/') != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(index_path, ": tensor ", Quoted(name), " is not mapped to a file name"));
    }
    weight_map.emplace(name, file_name);
  }
  return weight_map;
}

std::optional<StoredType> StoredTypeOf(const std::string& dtype) {
  if (dtype == "F32") return StoredType::kF32;
  if (dtype == "F16") return StoredType::kF16;
  if (dtype == "BF16") return StoredType::kBF16;
  return std::nullopt;
}

// Old checkpoints hold the rotary frequencies, which the config determines.
bool Ignored(const ModelConfig& config, std::string_view name) {
  return name.find(".rotary_emb.inv_freq") != std::string_view::npos ||
         (config.tied_embeddings && name == "lm_head.weight");
}

// Maps one safetensors file and adds its tensors.
absl::Status AddFile(const std::string& path, const ModelConfig& config, StoredTensors* tensors,
                     std::vector<MappedFile>* files) {
  TAMIS_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  TAMIS_ASSIGN_OR_RETURN(std::vector<SafetensorsEntry> entries,
                         ParseSafetensors(file.bytes(), path));
  for (SafetensorsEntry& entry : entries) {
    if (Ignored(config, entry.name)) continue;
    StoredTensor stored;
    stored.origin = absl::StrCat(path, ": tensor ", Quoted(entry.name));
    stored.sizes = std::move(entry.sizes);
    stored.type_name = entry.dtype;
    stored.type = StoredTypeOf(entry.dtype);
    stored.data = entry.data;
    const auto [place, added] = tensors->emplace(entry.name, std::move(stored));
    if (!added) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", Quoted(entry.name),
                                                     " is in another file too (",
                                                     place->second.origin, ")"));
    }
  }
  files->push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status AddShards(const std::string& directory, const std::string& index_path,
                       const ModelConfig& config, StoredTensors* tensors,
                       std::vector<MappedFile>* files) {
  TAMIS_ASSIGN_OR_RETURN(const WeightMap weight_map, ReadIndex(index_path));
  std::set<std::string> names;
  for (const auto& [tensor, file_name] : weight_map) names.insert(file_name);
  for (const std::string& name : names) {
    TAMIS_RETURN_IF_ERROR(AddFile(absl::StrCat(directory, "/", name), config, tensors, files));
  }
  for (const auto& [tensor, file_name] : weight_map) {
    if (!tensors->contains(tensor) && !Ignored(config, tensor)) {
      return absl::InvalidArgumentError(absl::StrCat(directory, "/", file_name, ": tensor ",
                                                     Quoted(tensor), " is missing, though ",
                                                     index_path, " says that it is there"));
    }
  }
  return absl::OkStatus();
}

class DummyModel final : public ModelFiles {
 public:
  DummyModel(HfConfig config, uint64_t seed) : config_(std::move(config)), seed_(seed) {}

  const ModelConfig& config() const override { return config_.model; }
  DType stored_dtype() const override { return config_.dtype; }

  absl::Status Load(const ModelShard& shard, ModelWeights& weights,
                    const LoadProgress& progress) override {
    const Stream stream =
        weights.buffer.device() == DeviceKind::kCuda ? Stream::Cuda() : Stream::Cpu();
    FillDummyWeights(config_.model, shard, seed_, weights, stream);
    if (progress) progress(weights.buffer.bytes(), weights.buffer.bytes());
    return absl::OkStatus();
  }

 private:
  HfConfig config_;
  uint64_t seed_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenHfModel(const std::string& directory) {
  const std::string config_path = absl::StrCat(directory, "/config.json");
  TAMIS_ASSIGN_OR_RETURN(HfConfig config, ReadConfig(config_path));
  const std::string single_path = absl::StrCat(directory, "/model.safetensors");
  const std::string index_path = absl::StrCat(single_path, ".index.json");
  StoredTensors tensors;
  std::vector<MappedFile> files;
  if (Exists(single_path)) {
    TAMIS_RETURN_IF_ERROR(AddFile(single_path, config.model, &tensors, &files));
  } else if (Exists(index_path)) {
    TAMIS_RETURN_IF_ERROR(AddShards(directory, index_path, config.model, &tensors, &files));
  } else {
    return absl::NotFoundError(absl::StrCat(
        directory, ": neither model.safetensors nor model.safetensors.index.json is there"));
  }
  return MakeCheckpoint(directory, config_path, std::move(config.model), std::move(tensors),
                        std::move(files));
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenDummyModel(const std::string& path, uint64_t seed) {
  std::error_code error;
  const bool directory = std::filesystem::is_directory(path, error);
  TAMIS_ASSIGN_OR_RETURN(HfConfig config,
                         ReadConfig(directory ? absl::StrCat(path, "/config.json") : path));
  return std::make_unique<DummyModel>(std::move(config), seed);
}

}  // namespace tamis
