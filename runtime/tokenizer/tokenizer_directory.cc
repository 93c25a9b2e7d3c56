// SPDX-License-Identifier: Apache-2.0
// Reads tokenizer.json and the files beside it. tokenizer_config.json decides about BOS and EOS;
// the lists of generation_config.json (or config.json without one) add further ends.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/json_fields.h"
#include "runtime/tokenizer/tokenizer_files.h"
#include "runtime/tokenizer/tokenizer_json.h"

namespace tamis {
namespace {

// The id of a token given as "TEXT" or {"content": "TEXT"}.
absl::StatusOr<int32_t> TokenId(const JsonField& field, const RawTokenizer& raw) {
  TAMIS_ASSIGN_OR_RETURN(const std::string text,
                         field.value().is_object() ? field["content"].String() : field.String());
  for (const AddedToken& token : raw.added) {
    if (token.text == text) return token.id;
  }
  for (size_t id = 0; id < raw.vocab.size(); ++id) {
    if (raw.vocab[id] == text) return static_cast<int32_t>(id);
  }
  return field.Error(absl::StrCat("\"", text, "\" is not in tokenizer.json"));
}

// bos_token and eos_token of tokenizer_config.json or special_tokens_map.json.
absl::Status ReadNamedTokens(const JsonField& root, RawTokenizer& raw) {
  if (const JsonField bos = root["bos_token"]; !bos.is_null()) {
    TAMIS_ASSIGN_OR_RETURN(raw.bos_id, TokenId(bos, raw));
  }
  if (const JsonField eos = root["eos_token"]; !eos.is_null() && raw.eos_ids.empty()) {
    TAMIS_ASSIGN_OR_RETURN(const int32_t id, TokenId(eos, raw));
    raw.eos_ids.push_back(id);
  }
  return absl::OkStatus();
}

// One template, or a list of {"name", "template"} of which "default" counts.
absl::Status ReadChatTemplate(const JsonField& field, RawTokenizer& raw) {
  if (field.is_null()) return absl::OkStatus();
  if (!field.value().is_array()) {
    TAMIS_ASSIGN_OR_RETURN(raw.chat_template, field.String());
    return absl::OkStatus();
  }
  for (size_t i = 0; i < field.size(); ++i) {
    if (field.At(i)["name"].value() != "default") continue;
    TAMIS_ASSIGN_OR_RETURN(raw.chat_template, field.At(i)["template"].String());
  }
  return absl::OkStatus();
}

absl::Status ReadTokenizerConfig(const JsonField& root, RawTokenizer& raw) {
  TAMIS_RETURN_IF_ERROR(ReadNamedTokens(root, raw));
  TAMIS_RETURN_IF_ERROR(ReadChatTemplate(root["chat_template"], raw));
  TAMIS_ASSIGN_OR_RETURN(raw.add_bos, root["add_bos_token"].BoolOr(raw.add_bos));
  for (const char* flag : {"add_eos_token", "add_prefix_space"}) {
    TAMIS_ASSIGN_OR_RETURN(const bool value, root[flag].BoolOr(false));
    if (value) return root[flag].Unsupported("false");
  }
  return absl::OkStatus();
}

// eos_token_id of generation_config.json or config.json: an id or a list of ids.
absl::Status ReadEosIds(const JsonField& field, RawTokenizer& raw) {
  if (field.is_null()) return absl::OkStatus();
  const size_t n = field.value().is_array() ? field.size() : 1;
  for (size_t i = 0; i < n; ++i) {
    TAMIS_ASSIGN_OR_RETURN(const int32_t id,
                           field.value().is_array() ? field.At(i).Id() : field.Id());
    raw.eos_ids.push_back(id);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSpec> ReadTokenizerJson(const std::string& path) {
  TAMIS_ASSIGN_OR_RETURN(RawTokenizer raw, ParseTokenizerJson(path));
  return ResolveSpec(path, std::move(raw));
}

absl::StatusOr<TokenizerSpec> ReadTokenizerDirectory(const std::string& directory) {
  namespace fs = std::filesystem;
  const fs::path root(directory);
  const auto exists = [&](const char* name) {
    std::error_code error;
    return fs::exists(root / name, error);
  };
  // Reads the file `name` with `read` if there is one.
  const auto optional = [&](const char* name, auto read) -> absl::Status {
    if (!exists(name)) return absl::OkStatus();
    const std::string path = (root / name).string();
    TAMIS_ASSIGN_OR_RETURN(const nlohmann::json json, JsonField::ReadFile(path));
    return read(JsonField(json, path, ""));
  };
  const std::string path = (root / "tokenizer.json").string();
  TAMIS_ASSIGN_OR_RETURN(RawTokenizer raw, ParseTokenizerJson(path));
  TAMIS_RETURN_IF_ERROR(optional("special_tokens_map.json", [&](const JsonField& json) {
    return raw.eos_ids.empty() ? ReadNamedTokens(json, raw) : absl::OkStatus();
  }));
  if (exists("tokenizer_config.json")) raw.eos_ids.clear();
  TAMIS_RETURN_IF_ERROR(optional("tokenizer_config.json", [&](const JsonField& json) {
    return ReadTokenizerConfig(json, raw);
  }));
  TAMIS_RETURN_IF_ERROR(
      optional(exists("generation_config.json") ? "generation_config.json" : "config.json",
               [&](const JsonField& json) { return ReadEosIds(json["eos_token_id"], raw); }));
  if (exists("chat_template.jinja")) {
    std::ifstream in(root / "chat_template.jinja", std::ios::binary);
    raw.chat_template.assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return ResolveSpec(path, std::move(raw));
}

}  // namespace tamis
