// SPDX-License-Identifier: Apache-2.0
// tokenizer.json of Hugging Face's `tokenizers` library.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runtime/tokenizer/tokenizer_spec.h"

namespace tamis {

// UNIMPLEMENTED names the field and value that are not supported.
absl::StatusOr<RawTokenizer> ParseTokenizerJson(const std::string& path);

}  // namespace tamis
