// SPDX-License-Identifier: Apache-2.0
// `tamis tokenize`: a model's tokenizer without a server.
#pragma once

#include <optional>
#include <string>

namespace tamis {

struct TokenizeFlags {
  std::string model;
  std::optional<std::string> text;
  std::optional<std::string> file;
  std::optional<std::string> chat;  // as one user message, through the chat template
};

// Prints the ids as a JSON array. Returns the exit code.
int RunTokenize(const TokenizeFlags& flags);

}  // namespace tamis
