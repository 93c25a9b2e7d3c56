// SPDX-License-Identifier: Apache-2.0
// See tokenizer_spec.h. Tokens are kept as bytes from here on; only files know mapped characters.
#include "runtime/tokenizer/tokenizer_spec.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/byte_map.h"
#include "runtime/tokenizer/utf8.h"

namespace tamis {
namespace {

using TextToId = absl::flat_hash_map<std::string_view, int32_t>;

absl::StatusOr<TextToId> IndexVocab(const std::string& source,
                                    const std::vector<std::string>& vocab) {
  TextToId ids;
  ids.reserve(vocab.size());
  for (size_t id = 0; id < vocab.size(); ++id) {
    if (vocab[id].empty()) continue;
    const auto [it, inserted] = ids.emplace(vocab[id], static_cast<int32_t>(id));
    if (!inserted) {
      return absl::InvalidArgumentError(absl::StrCat(source, ": vocabulary: ids ", it->second,
                                                     " and ", id, " are both \"", vocab[id], "\""));
    }
  }
  return ids;
}

absl::StatusOr<std::vector<MergeRule>> ResolveMerges(
    const std::string& source, const TextToId& ids,
    const std::vector<std::pair<std::string, std::string>>& merges) {
  std::vector<MergeRule> rules;
  rules.reserve(merges.size());
  for (const auto& [left, right] : merges) {
    const std::string joined = left + right;
    MergeRule rule{};
    for (auto [text, id] : {std::pair(&left, &rule.left), std::pair(&right, &rule.right),
                            std::pair(&joined, &rule.result)}) {
      const auto it = ids.find(*text);
      if (it == ids.end()) {
        return absl::InvalidArgumentError(absl::StrCat(source, ": merges[", rules.size(), "]: \"",
                                                       *text, "\" is not in the vocabulary"));
      }
      *id = it->second;
    }
    rules.push_back(rule);
  }
  return rules;
}

absl::Status ResolveBytes(const std::string& source, const TextToId& ids,
                          const std::string& unknown_token, TokenizerSpec& spec) {
  int32_t missing_id = -1;
  if (!unknown_token.empty()) {
    const auto it = ids.find(unknown_token);
    if (it == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": unk_token \"", unknown_token, "\" is not in the vocabulary"));
    }
    missing_id = it->second;
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string text;
    AppendUtf8(ByteToChar(static_cast<uint8_t>(byte)), text);
    const auto it = ids.find(text);
    spec.byte_ids[byte] = it == ids.end() ? missing_id : it->second;
  }
  return absl::OkStatus();
}

absl::Status CheckId(const std::string& source, const char* what, int32_t id, size_t size) {
  if (id >= 0 && static_cast<size_t>(id) < size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": ", what, " ", id, " is outside the vocabulary of ", size));
}

}  // namespace

absl::StatusOr<TokenizerSpec> ResolveSpec(const std::string& source, RawTokenizer raw) {
  if (raw.vocab.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": the vocabulary is empty"));
  }
  TokenizerSpec spec;
  TAMIS_ASSIGN_OR_RETURN(const TextToId ids, IndexVocab(source, raw.vocab));
  TAMIS_ASSIGN_OR_RETURN(spec.merges, ResolveMerges(source, ids, raw.merges));
  TAMIS_RETURN_IF_ERROR(ResolveBytes(source, ids, raw.unknown_token, spec));

  spec.tokens.reserve(raw.vocab.size());
  for (const std::string& text : raw.vocab) spec.tokens.push_back(UnmapBytes(text).value_or(text));
  spec.is_special.resize(spec.tokens.size());
  for (const AddedToken& token : raw.added) {
    TAMIS_RETURN_IF_ERROR(CheckId(source, "added token's id", token.id, spec.tokens.size()));
    if (token.text.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": added token ", token.id, " is empty"));
    }
    const auto id = static_cast<size_t>(token.id);
    spec.tokens[id] = token.text;
    spec.is_special[id] = token.special;
  }
  if (raw.bos_id != -1) {
    TAMIS_RETURN_IF_ERROR(CheckId(source, "bos token id", raw.bos_id, spec.tokens.size()));
  }
  for (const int32_t id : raw.eos_ids) {
    TAMIS_RETURN_IF_ERROR(CheckId(source, "eos token id", id, spec.tokens.size()));
  }
  if (raw.add_bos && raw.bos_id == -1) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": add_bos_token is set, but there is no bos token"));
  }
  spec.ignore_merges = raw.ignore_merges;
  spec.added = std::move(raw.added);
  spec.splits = std::move(raw.splits);
  spec.bos_id = raw.bos_id;
  spec.add_bos = raw.add_bos;
  spec.eos_ids = std::move(raw.eos_ids);
  std::sort(spec.eos_ids.begin(), spec.eos_ids.end());
  spec.eos_ids.erase(std::unique(spec.eos_ids.begin(), spec.eos_ids.end()), spec.eos_ids.end());
  spec.chat_template = std::move(raw.chat_template);
  return spec;
}

}  // namespace tamis
