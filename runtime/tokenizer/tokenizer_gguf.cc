// SPDX-License-Identifier: Apache-2.0
// Reads a tokenizer from GGUF metadata. The file names its pre-tokeniser and nothing more, so the
// rest of the pipeline follows from that name.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/load/gguf.h"
#include "runtime/load/quote.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/tokenizer_files.h"

namespace tamis {
namespace {

enum TokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused };

absl::Status ReadVocab(const GgufFile& file, RawTokenizer& raw) {
  TAMIS_ASSIGN_OR_RETURN(const auto tokens, file.GetStringArray("tokenizer.ggml.tokens"));
  TAMIS_ASSIGN_OR_RETURN(const auto types, file.GetInt32Array("tokenizer.ggml.token_type"));
  if (tokens.size() != types.size() || tokens.size() >= size_t{kMaxVocabSize}) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tokenizer.ggml.token_type has ",
                                                   types.size(), " entries for ", tokens.size(),
                                                   " tokens"));
  }
  raw.vocab.assign(tokens.begin(), tokens.end());
  for (size_t id = 0; id < types.size(); ++id) {
    switch (types[id]) {
      case kNormal:
      case kUnused: break;
      case kUnknown:
      case kControl:
      case kUserDefined: {
        AddedToken token;
        token.id = static_cast<int32_t>(id);
        token.text = tokens[id];
        token.special = types[id] != kUserDefined;
        raw.added.push_back(std::move(token));
        break;
      }
      default:
        return absl::UnimplementedError(
            absl::StrCat(file.path(), ": tokenizer.ggml.token_type[", id, "]: type ", types[id],
                         " is not supported in a byte-level vocabulary"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufFile& file, RawTokenizer& raw) {
  TAMIS_ASSIGN_OR_RETURN(const auto merges, file.GetStringArray("tokenizer.ggml.merges"));
  raw.merges.reserve(merges.size());
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ');
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tokenizer.ggml.merges[",
                                                     raw.merges.size(), "]: ", Quoted(merge),
                                                     " is not a pair of tokens"));
    }
    raw.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return absl::OkStatus();
}

// What follows from the pre-tokeniser's name.
absl::Status ReadPreTokenizer(const GgufFile& file, RawTokenizer& raw) {
  TAMIS_ASSIGN_OR_RETURN(const std::string pre, file.GetString("tokenizer.ggml.pre"));
  if (pre == "gpt-2") {
    raw.splits = {SplitRule::kGpt2};
  } else if (pre == "smollm") {
    raw.splits = {SplitRule::kDigits, SplitRule::kGpt2};
  } else if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    raw.splits = {SplitRule::kLlama3};
    raw.ignore_merges = true;
    raw.add_bos = true;
  } else {
    return absl::UnimplementedError(
        absl::StrCat(file.path(), ": tokenizer.ggml.pre: ", Quoted(pre),
                     " is not supported (supported: gpt-2, smollm, llama-bpe, llama3)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> ReadId(const GgufFile& file, const std::string& key) {
  TAMIS_ASSIGN_OR_RETURN(const uint64_t id, file.GetUint(key));
  if (id < uint64_t{kMaxVocabSize}) return static_cast<int32_t>(id);
  return absl::InvalidArgumentError(
      absl::StrCat(file.path(), ": ", key, ": ", id, " is not a token id"));
}

absl::Status ReadSpecialIds(const GgufFile& file, RawTokenizer& raw) {
  if (file.Has("tokenizer.ggml.bos_token_id")) {
    TAMIS_ASSIGN_OR_RETURN(raw.bos_id, ReadId(file, "tokenizer.ggml.bos_token_id"));
  }
  if (file.Has("tokenizer.ggml.add_bos_token")) {
    TAMIS_ASSIGN_OR_RETURN(raw.add_bos, file.GetBool("tokenizer.ggml.add_bos_token"));
  }
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::string key = absl::StrCat("tokenizer.ggml.", name, "_token_id");
    if (!file.Has(key)) continue;
    TAMIS_ASSIGN_OR_RETURN(const int32_t id, ReadId(file, key));
    raw.eos_ids.push_back(id);
  }
  // GGUF files of Llama 3 name one end only; the model's generation_config.json has these three.
  if (raw.splits.back() != SplitRule::kLlama3) return absl::OkStatus();
  for (const AddedToken& token : raw.added) {
    if (!token.special) continue;
    for (const char* end : {"<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"}) {
      if (token.text == end) raw.eos_ids.push_back(token.id);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSpec> ReadTokenizerGguf(const std::string& path) {
  TAMIS_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  const absl::StatusOr<std::string> model = file.GetString("tokenizer.ggml.model");
  TAMIS_RETURN_IF_ERROR(model.status());
  if (*model != "gpt2") {
    return absl::UnimplementedError(absl::StrCat(path, ": tokenizer.ggml.model: ", Quoted(*model),
                                                 " is not supported (supported: gpt2)"));
  }
  for (const char* flag : {"add_eos_token", "add_space_prefix"}) {
    const std::string key = absl::StrCat("tokenizer.ggml.", flag);
    if (!file.Has(key)) continue;
    TAMIS_ASSIGN_OR_RETURN(const bool value, file.GetBool(key));
    if (value) {
      return absl::UnimplementedError(
          absl::StrCat(path, ": ", key, ": true is not supported (supported: false)"));
    }
  }
  RawTokenizer raw;
  TAMIS_RETURN_IF_ERROR(ReadPreTokenizer(file, raw));
  TAMIS_RETURN_IF_ERROR(ReadVocab(file, raw));
  TAMIS_RETURN_IF_ERROR(ReadMerges(file, raw));
  TAMIS_RETURN_IF_ERROR(ReadSpecialIds(file, raw));
  if (file.Has("tokenizer.chat_template")) {
    TAMIS_ASSIGN_OR_RETURN(raw.chat_template, file.GetString("tokenizer.chat_template"));
  }
  return ResolveSpec(path, std::move(raw));
}

}  // namespace tamis
