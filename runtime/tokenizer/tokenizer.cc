// SPDX-License-Identifier: Apache-2.0
// Opening by kind of path, and decoding, which needs no more than the bytes of each token.
#include "runtime/tokenizer/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/bpe_tokenizer.h"
#include "runtime/tokenizer/tokenizer_files.h"
#include "runtime/tokenizer/utf8.h"

namespace tamis {

Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  absl::StatusOr<TokenizerSpec> spec = fs::is_directory(status) ? ReadTokenizerDirectory(path)
                                       : fs::path(path).extension() == ".json"
                                           ? ReadTokenizerJson(path)
                                           : ReadTokenizerGguf(path);
  TAMIS_RETURN_IF_ERROR(spec.status());
  return BpeTokenizer::Create(*std::move(spec));
}

int64_t Tokenizer::CountBytes(std::span<const int32_t> ids, bool skip_special) const {
  size_t bytes = 0;
  for (const int32_t id : ids) bytes += TokenBytes(id, skip_special).size();
  return static_cast<int64_t>(bytes);
}

int64_t Tokenizer::token_bytes_max() const {
  size_t most = 0;
  for (int32_t id = 0; id < vocab_size(); ++id) {
    most = std::max(most, TokenBytes(id, /*skip_special=*/false).size());
  }
  return static_cast<int64_t>(most);
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) bytes.append(TokenBytes(id, skip_special));
  std::string text;
  text.reserve(bytes.size());
  AppendLossyUtf8(bytes, /*at_end=*/true, text);
  return text;
}

std::string StreamDecoder::Push(int32_t id) {
  pending_.append(tokenizer_.TokenBytes(id, skip_special_));
  std::string text;
  pending_.erase(0, AppendLossyUtf8(pending_, /*at_end=*/false, text));
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text;
  AppendLossyUtf8(pending_, /*at_end=*/true, text);
  pending_.clear();
  return text;
}

}  // namespace tamis
