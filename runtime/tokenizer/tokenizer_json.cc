// SPDX-License-Identifier: Apache-2.0
// Reads tokenizer.json. Whatever would change ids and is not understood is refused by name: ids
// that are silently wrong cost more than a model that does not start.
#include "runtime/tokenizer/tokenizer_json.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/json_fields.h"

namespace tamis {
namespace {

constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// The same expression, as newer exports of GPT-2's family write it.
constexpr std::string_view kGpt2RegexGrouped =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Refuses `field` unless it is null or equals `only`.
template <typename T>
absl::Status ExpectOnly(const JsonField& field, const T& only) {
  if (field.is_null() || field.value() == only) return absl::OkStatus();
  return field.Unsupported(nlohmann::json(only).dump());
}

absl::Status ReadVocab(const JsonField& field, std::vector<std::string>& vocab) {
  TAMIS_RETURN_IF_ERROR(field.ExpectObject());
  for (const auto& [text, value] : field.value().items()) {
    TAMIS_ASSIGN_OR_RETURN(const int32_t id, field[text].Id());
    if (text.empty()) return field.Error(absl::StrCat("token ", id, " is empty"));
    if (vocab.size() <= static_cast<size_t>(id)) vocab.resize(static_cast<size_t>(id) + 1);
    std::string& slot = vocab[static_cast<size_t>(id)];
    if (!slot.empty()) {
      return field.Error(absl::StrCat("id ", id, " is both \"", slot, "\" and \"", text, "\""));
    }
    slot = text;
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const JsonField& field,
                        std::vector<std::pair<std::string, std::string>>& merges) {
  TAMIS_RETURN_IF_ERROR(field.ExpectArray());
  merges.reserve(field.size());
  for (size_t i = 0; i < field.size(); ++i) {
    const nlohmann::json& merge = field.value()[i];
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    if (!merge.is_string()) return field.At(i).Error("not a pair of tokens");
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      return field.At(i).Error("not a pair of tokens");
    }
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return absl::OkStatus();
}

absl::Status ReadModel(const JsonField& model, RawTokenizer& raw) {
  TAMIS_RETURN_IF_ERROR(model.ExpectObject());
  const JsonField type = model["type"];
  // Files older than the field "type" hold BPE when they have merges.
  if (type.is_null() ? model["merges"].is_null() : type.value() != "BPE") {
    return type.Unsupported("\"BPE\"");
  }
  TAMIS_RETURN_IF_ERROR(ExpectOnly(model["dropout"], 0.0));
  TAMIS_RETURN_IF_ERROR(ExpectOnly(model["continuing_subword_prefix"], ""));
  TAMIS_RETURN_IF_ERROR(ExpectOnly(model["end_of_word_suffix"], ""));
  TAMIS_RETURN_IF_ERROR(ExpectOnly(model["byte_fallback"], false));
  if (const JsonField unknown = model["unk_token"]; !unknown.is_null()) {
    TAMIS_ASSIGN_OR_RETURN(raw.unknown_token, unknown.String());
    TAMIS_RETURN_IF_ERROR(ExpectOnly(model["fuse_unk"], false));
  }
  TAMIS_ASSIGN_OR_RETURN(raw.ignore_merges, model["ignore_merges"].BoolOr(false));
  TAMIS_RETURN_IF_ERROR(ReadVocab(model["vocab"], raw.vocab));
  return ReadMerges(model["merges"], raw.merges);
}

absl::Status ReadPreTokenizer(const JsonField& field, std::vector<SplitRule>& splits) {
  const JsonField type = field["type"];
  if (type.value() == "Sequence") {
    const JsonField parts = field["pretokenizers"];
    TAMIS_RETURN_IF_ERROR(parts.ExpectArray());
    for (size_t i = 0; i < parts.size(); ++i) {
      TAMIS_RETURN_IF_ERROR(ReadPreTokenizer(parts.At(i), splits));
    }
    return absl::OkStatus();
  }
  if (type.value() == "ByteLevel") {
    if (field["add_prefix_space"].value() != false) {
      return field["add_prefix_space"].Unsupported("false");
    }
    TAMIS_ASSIGN_OR_RETURN(const bool use_regex, field["use_regex"].BoolOr(true));
    if (use_regex) splits.push_back(SplitRule::kGpt2);
    return absl::OkStatus();
  }
  if (type.value() == "Digits") {
    if (field["individual_digits"].value() != true) {
      return field["individual_digits"].Unsupported("true");
    }
    splits.push_back(SplitRule::kDigits);
    return absl::OkStatus();
  }
  if (type.value() == "Split") {
    if (field["behavior"].value() != "Isolated")
      return field["behavior"].Unsupported("\"Isolated\"");
    TAMIS_RETURN_IF_ERROR(ExpectOnly(field["invert"], false));
    const JsonField regex = field["pattern"]["Regex"];
    if (regex.value() == kGpt2Regex || regex.value() == kGpt2RegexGrouped) {
      splits.push_back(SplitRule::kGpt2);
    } else if (regex.value() == kLlama3Regex) {
      splits.push_back(SplitRule::kLlama3);
    } else {
      return (regex.is_null() ? field["pattern"] : regex)
          .Unsupported("the regular expressions of GPT-2 and Llama 3");
    }
    return absl::OkStatus();
  }
  return type.Unsupported("Sequence, Split, Digits, ByteLevel");
}

// The words must end up byte-level, or merges over bytes would not be the model's.
absl::Status ExpectByteLevel(const JsonField& field) {
  const JsonField last = field["type"].value() == "Sequence" && field["pretokenizers"].size() > 0
                             ? field["pretokenizers"].At(field["pretokenizers"].size() - 1)
                             : field;
  if (last["type"].value() == "ByteLevel") return absl::OkStatus();
  return last["type"].Unsupported("ByteLevel as the last step");
}

absl::Status ReadAddedTokens(const JsonField& field, RawTokenizer& raw) {
  if (field.is_null()) return absl::OkStatus();
  TAMIS_RETURN_IF_ERROR(field.ExpectArray());
  for (size_t i = 0; i < field.size(); ++i) {
    const JsonField entry = field.At(i);
    AddedToken token;
    TAMIS_ASSIGN_OR_RETURN(token.id, entry["id"].Id());
    TAMIS_ASSIGN_OR_RETURN(token.text, entry["content"].String());
    TAMIS_ASSIGN_OR_RETURN(token.special, entry["special"].BoolOr(false));
    TAMIS_ASSIGN_OR_RETURN(token.normalized, entry["normalized"].BoolOr(!token.special));
    TAMIS_ASSIGN_OR_RETURN(token.lstrip, entry["lstrip"].BoolOr(false));
    TAMIS_ASSIGN_OR_RETURN(token.rstrip, entry["rstrip"].BoolOr(false));
    TAMIS_RETURN_IF_ERROR(ExpectOnly(entry["single_word"], false));
    const auto id = static_cast<size_t>(token.id);
    if (raw.vocab.size() <= id) raw.vocab.resize(id + 1);
    if (raw.vocab[id].empty()) {
      raw.vocab[id] = token.text;
    } else if (raw.vocab[id] != token.text) {
      return entry.Error(absl::StrCat("id ", id, " is \"", raw.vocab[id], "\" in the vocabulary"));
    }
    raw.added.push_back(std::move(token));
  }
  return absl::OkStatus();
}

// BOS may stand before the text; nothing may follow it.
absl::Status ReadTemplate(const JsonField& field, RawTokenizer& raw) {
  const JsonField single = field["single"];
  TAMIS_RETURN_IF_ERROR(single.ExpectArray());
  bool text_seen = false;
  for (size_t i = 0; i < single.size(); ++i) {
    const JsonField special = single.At(i)["SpecialToken"];
    if (special.is_null()) {
      if (text_seen || single.At(i)["Sequence"].is_null()) {
        return single.Unsupported("one token at most, then the text");
      }
      text_seen = true;
      continue;
    }
    if (text_seen || raw.add_bos) return single.Unsupported("one token at most, then the text");
    TAMIS_ASSIGN_OR_RETURN(const std::string name, special["id"].String());
    const JsonField ids = field["special_tokens"][name]["ids"];
    TAMIS_RETURN_IF_ERROR(ids.ExpectArray());
    if (ids.size() != 1) return ids.Unsupported("one id");
    TAMIS_ASSIGN_OR_RETURN(raw.bos_id, ids.At(0).Id());
    raw.add_bos = true;
  }
  return text_seen ? absl::OkStatus() : single.Error("the text itself is missing");
}

absl::Status ReadPostProcessor(const JsonField& field, RawTokenizer& raw) {
  const JsonField type = field["type"];
  // ByteLevel moves offsets only.
  if (field.is_null() || type.value() == "ByteLevel") return absl::OkStatus();
  if (type.value() == "TemplateProcessing") return ReadTemplate(field, raw);
  if (type.value() != "Sequence") {
    return type.Unsupported("Sequence, TemplateProcessing, ByteLevel");
  }
  const JsonField parts = field["processors"];
  TAMIS_RETURN_IF_ERROR(parts.ExpectArray());
  for (size_t i = 0; i < parts.size(); ++i) {
    TAMIS_RETURN_IF_ERROR(ReadPostProcessor(parts.At(i), raw));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RawTokenizer> ParseTokenizerJson(const std::string& path) {
  TAMIS_ASSIGN_OR_RETURN(const nlohmann::json json, JsonField::ReadFile(path));
  const JsonField root(json, path, "");
  RawTokenizer raw;
  if (!root["normalizer"].is_null()) return root["normalizer"].Unsupported("null");
  TAMIS_RETURN_IF_ERROR(ReadModel(root["model"], raw));
  TAMIS_RETURN_IF_ERROR(ReadPreTokenizer(root["pre_tokenizer"], raw.splits));
  TAMIS_RETURN_IF_ERROR(ExpectByteLevel(root["pre_tokenizer"]));
  TAMIS_RETURN_IF_ERROR(ReadAddedTokens(root["added_tokens"], raw));
  TAMIS_RETURN_IF_ERROR(ReadPostProcessor(root["post_processor"], raw));
  if (const JsonField decoder = root["decoder"]["type"];
      !root["decoder"].is_null() && decoder.value() != "ByteLevel") {
    return decoder.Unsupported("ByteLevel");
  }
  return raw;
}

}  // namespace tamis
