// SPDX-License-Identifier: Apache-2.0
// Splits text into words before merging, by the regular expressions of GPT-2, SmolLM and Llama 3.
// Their character classes are spelt out so that every PCRE2 gives what Hugging Face gives.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/tokenizer/tokenizer_spec.h"

namespace tamis {

// Immutable; may be used from any thread.
class PreTokenizer {
 public:
  // `rules` are applied in order; each splits the pieces of the one before.
  static absl::StatusOr<PreTokenizer> Create(const std::vector<SplitRule>& rules);
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Calls `emit` with the pieces of `text` in order; together they are `text`. `text` must be
  // UTF-8. INTERNAL if PCRE2 fails.
  absl::Status Split(std::string_view text, absl::FunctionRef<void(std::string_view)> emit) const;

 private:
  struct Impl;
  explicit PreTokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tamis
