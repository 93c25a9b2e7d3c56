// SPDX-License-Identifier: Apache-2.0
// The Tokenizer: added tokens, then words, then merges.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/tokenizer_spec.h"

namespace tamis {

class BpeTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(TokenizerSpec spec);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_bos,
                                              bool parse_special) const override;
  std::string_view TokenBytes(int32_t id, bool skip_special) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(spec_.tokens.size()); }
  int32_t bos_token_id() const override { return spec_.bos_id; }
  std::vector<int32_t> eos_token_ids() const override { return spec_.eos_ids; }
  bool IsSpecial(int32_t id) const override;
  const std::string& chat_template_source() const override { return spec_.chat_template; }

 private:
  BpeTokenizer(TokenizerSpec spec, PreTokenizer pre_tokenizer)
      : spec_(std::move(spec)),
        added_tokens_(spec_.added),
        pre_tokenizer_(std::move(pre_tokenizer)),
        bpe_(spec_) {}

  TokenizerSpec spec_;
  AddedTokens added_tokens_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
};

}  // namespace tamis
