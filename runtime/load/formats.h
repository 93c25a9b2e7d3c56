// SPDX-License-Identifier: Apache-2.0
// What OpenModel chooses from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/load/checkpoint.h"
#include "runtime/load/gguf.h"
#include "runtime/load/load_model.h"

namespace tamis {

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGgufModel(const std::string& path);
// `directory` holds config.json and model.safetensors, or its index and shards.
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenHfModel(const std::string& directory);
// `path` is a config.json or a directory that holds one.
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenDummyModel(const std::string& path, uint64_t seed);

// The model in a parsed file; the bytes given to GgufFile::Parse must outlive it.
absl::StatusOr<std::unique_ptr<ModelFiles>> GgufModel(GgufFile file);

// The config of a GGUF file's "llama.*" and "tokenizer.ggml.*" metadata, unchecked.
absl::StatusOr<ModelConfig> GgufModelConfig(const GgufFile& file);

}  // namespace tamis
