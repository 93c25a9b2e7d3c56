// SPDX-License-Identifier: Apache-2.0
// config.json and generation_config.json of a Hugging Face directory as a ModelConfig. What the
// file asks for and Tamis cannot do is refused by name.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/model/config.h"

namespace tamis {

struct HfConfig {
  ModelConfig model;
  DType dtype = DType::kF32;  // what the weights were saved in, by "dtype" or "torch_dtype"
};

// `path` is for messages.
absl::StatusOr<HfConfig> ParseHfConfig(std::string_view text, const std::string& path);

// Adds the EOS ids of a generation_config.json that are not there yet.
absl::Status AddGenerationConfig(std::string_view text, const std::string& path,
                                 ModelConfig* config);

}  // namespace tamis
