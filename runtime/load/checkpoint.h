// SPDX-License-Identifier: Apache-2.0
// What GGUF and safetensors have in common once their headers are read: named tensors in mapped
// files, checked against the model's list, from which a rank's pieces are decoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/load/block_formats.h"
#include "runtime/load/load_model.h"
#include "runtime/load/mapped_file.h"

namespace tamis {

// A tensor as a file holds it.
struct StoredTensor {
  std::string origin;              // "FILE: tensor "NAME"", for messages
  std::vector<int64_t> sizes;      // outermost first
  std::string type_name;           // as the format calls it
  std::optional<StoredType> type;  // empty: a type that Tamis cannot decode
  std::span<const std::byte> data;
  // GGUF keeps the rows of each query and key head in the order of interleaved rotation, 0, D/2,
  // 1, D/2 + 1, ...; then this is D. Else 0.
  int64_t interleaved_head_dim = 0;
};

// By Hugging Face name.
using StoredTensors = std::map<std::string, StoredTensor>;

// Checks that `config` is possible and supported and that `tensors` are exactly its tensors, of
// the right shapes and decodable types. `path` is where the model is, `config_path` the file that
// `config` came from; `files` hold the data.
absl::StatusOr<std::unique_ptr<ModelFiles>> MakeCheckpoint(const std::string& path,
                                                           const std::string& config_path,
                                                           ModelConfig config,
                                                           StoredTensors tensors,
                                                           std::vector<MappedFile> files);

// OK if the config is possible and supported; else an error naming `path` and the field.
absl::Status CheckConfig(const ModelConfig& config, const std::string& path);

}  // namespace tamis
