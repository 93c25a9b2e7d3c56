// SPDX-License-Identifier: Apache-2.0
// See bpe_tokenizer.h.
#include "runtime/tokenizer/bpe_tokenizer.h"

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/utf8.h"

namespace tamis {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // positions in a word have 32 bits

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::Create(TokenizerSpec spec) {
  TAMIS_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Create(spec.splits));
  return std::unique_ptr<Tokenizer>(new BpeTokenizer(std::move(spec), std::move(pre_tokenizer)));
}

absl::StatusOr<std::vector<int32_t>> BpeTokenizer::Encode(std::string_view text, bool add_bos,
                                                          bool parse_special) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("longer than ", kMaxTextBytes, " bytes: ", text.size()));
  }
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("not UTF-8 at byte ", bad));
  }
  std::vector<int32_t> ids;
  const std::vector<TextPiece> pieces = added_tokens_.Split(text, parse_special);
  const bool has_bos = !pieces.empty() && pieces[0].id >= 0 && pieces[0].id == spec_.bos_id;
  if (add_bos && spec_.add_bos && !has_bos) ids.push_back(spec_.bos_id);
  for (const TextPiece& piece : pieces) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
      continue;
    }
    TAMIS_RETURN_IF_ERROR(
        pre_tokenizer_.Split(piece.text, [&](std::string_view word) { bpe_.Encode(word, ids); }));
  }
  return ids;
}

std::string_view BpeTokenizer::TokenBytes(int32_t id, bool skip_special) const {
  if (id < 0 || id >= vocab_size()) return {};
  const auto index = static_cast<size_t>(id);
  if (skip_special && spec_.is_special[index]) return {};
  return spec_.tokens[index];
}

bool BpeTokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < vocab_size() && spec_.is_special[static_cast<size_t>(id)];
}

}  // namespace tamis
