// SPDX-License-Identifier: Apache-2.0
// The two file formats that tokenizers come in.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runtime/tokenizer/tokenizer_spec.h"

namespace tamis {

// From a tokenizer.json of Hugging Face's `tokenizers` library alone.
absl::StatusOr<TokenizerSpec> ReadTokenizerJson(const std::string& path);

// From a model directory: tokenizer.json, and where they exist tokenizer_config.json,
// special_tokens_map.json, chat_template.jinja, generation_config.json.
absl::StatusOr<TokenizerSpec> ReadTokenizerDirectory(const std::string& directory);

// From the metadata of a GGUF file.
absl::StatusOr<TokenizerSpec> ReadTokenizerGguf(const std::string& path);

}  // namespace tamis
