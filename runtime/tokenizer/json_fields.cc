// SPDX-License-Identifier: Apache-2.0
// See json_fields.h.
#include "runtime/tokenizer/json_fields.h"

#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "runtime/load/json_depth.h"
#include "runtime/tokenizer/tokenizer_spec.h"

namespace tamis {
namespace {

constexpr size_t kShownChars = 120;  // of a value in a message

const nlohmann::json& NullJson() {
  static const nlohmann::json null;
  return null;
}

}  // namespace

absl::StatusOr<nlohmann::json> JsonField::ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (NestsTooDeep(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": nests deeper than ", kJsonDepthMax, " levels"));
  }
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not valid JSON"));
  }
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  }
  return json;
}

JsonField JsonField::operator[](const std::string& key) const {
  std::string path = path_.empty() ? key : absl::StrCat(path_, ".", key);
  if (!value_->is_object()) return {NullJson(), file_, std::move(path)};
  const auto it = value_->find(key);
  return {it == value_->end() ? NullJson() : *it, file_, std::move(path)};
}

JsonField JsonField::At(size_t index) const {
  return {(*value_)[index], file_, absl::StrCat(path_, "[", index, "]")};
}

absl::Status JsonField::ExpectObject() const {
  return value_->is_object() ? absl::OkStatus() : Error("not an object");
}

absl::Status JsonField::ExpectArray() const {
  return value_->is_array() ? absl::OkStatus() : Error("not an array");
}

absl::StatusOr<std::string> JsonField::String() const {
  if (!value_->is_string()) return Error("not a string");
  return value_->get<std::string>();
}

absl::StatusOr<bool> JsonField::BoolOr(bool fallback) const {
  if (is_null()) return fallback;
  if (!value_->is_boolean()) return Error("not true or false");
  return value_->get<bool>();
}

absl::StatusOr<int32_t> JsonField::Id() const {
  if (!value_->is_number_unsigned() || value_->get<uint64_t>() >= uint64_t{kMaxVocabSize}) {
    return Error("not a token id");
  }
  return static_cast<int32_t>(value_->get<uint64_t>());
}

absl::Status JsonField::Error(const std::string& reason) const {
  return absl::InvalidArgumentError(absl::StrCat(file_, ": ", path_, ": ", reason));
}

absl::Status JsonField::Unsupported(const std::string& supported) const {
  std::string shown = value_->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (shown.size() > kShownChars) shown = shown.substr(0, kShownChars) + "...";
  return absl::UnimplementedError(absl::StrCat(file_, ": ", path_, ": ", shown,
                                               " is not supported (supported: ", supported, ")"));
}

}  // namespace tamis
