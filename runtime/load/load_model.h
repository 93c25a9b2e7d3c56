// SPDX-License-Identifier: Apache-2.0
// Files to structs: a model directory or GGUF file becomes a config and one rank's weights.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/shard.h"
#include "runtime/model/config.h"
#include "runtime/model/weights.h"

namespace tamis {

enum class LoadFormat : uint8_t { kAuto, kGguf, kSafetensors, kDummy };

// Bytes read so far and in all, of this rank's shard.
using LoadProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

// An opened model. Files stay memory-mapped while it lives; opening reads headers only.
class ModelFiles {
 public:
  virtual ~ModelFiles() = default;
  virtual const ModelConfig& config() const = 0;
  // The precision the file stores most of its weights in: kF32, kF16 or kBF16 (quantised: kF32).
  virtual DType stored_dtype() const = 0;
  // Fills `weights`, allocated for this config and `shard`. Touches only the shard's bytes.
  virtual absl::Status Load(const ModelShard& shard, ModelWeights& weights,
                            const LoadProgress& progress) = 0;
};

// Opens `path`: a .gguf file, or a Hugging Face directory (config.json and safetensors; with
// kDummy config.json alone). `seed` is for kDummy. Errors name the file, the tensor or field and
// the reason: NotFound, InvalidArgument (mismatch, unsupported), DataLoss (truncated, corrupt).
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenModel(const std::string& path, LoadFormat format,
                                                      uint64_t seed);

}  // namespace tamis
