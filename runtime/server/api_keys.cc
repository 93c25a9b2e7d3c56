// SPDX-License-Identifier: Apache-2.0
// Digests have one length and are compared whole, all of them, so neither length nor position of a
// difference shows in the time.
#include "runtime/server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

std::array<uint8_t, 32> DigestOf(std::string_view key) {
  std::array<uint8_t, 32> digest = {};
  static_assert(sizeof(digest) == SHA256_DIGEST_LENGTH);
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ApiKeys>> ApiKeys::Open(const std::vector<std::string>& keys,
                                                       const std::string& path,
                                                       std::chrono::milliseconds reload) {
  std::unique_ptr<ApiKeys> result(new ApiKeys);
  result->path_ = path;
  result->reload_ = reload;
  for (const std::string& key : keys) result->fixed_.push_back(DigestOf(key));
  if (path.empty()) return result;
  TAMIS_ASSIGN_OR_RETURN(result->from_file_, result->ReadFile());
  result->looked_ = std::chrono::steady_clock::now();
  return result;
}

absl::StatusOr<std::vector<ApiKeys::Digest>> ApiKeys::ReadFile() const {
  std::ifstream file(path_);
  if (!file) return absl::InvalidArgumentError(absl::StrCat(path_, ": cannot be read"));
  std::vector<Digest> digests;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty() && line.front() != '#') digests.push_back(DigestOf(line));
  }
  if (digests.empty()) return absl::InvalidArgumentError(absl::StrCat(path_, ": holds no key"));
  return digests;
}

void ApiKeys::Reload() {
  const auto now = std::chrono::steady_clock::now();
  if (path_.empty() || now - looked_ < reload_) return;
  looked_ = now;
  // A file that is just being replaced must not lock everybody out.
  if (auto digests = ReadFile(); digests.ok()) from_file_ = *std::move(digests);
}

bool ApiKeys::Allow(std::string_view authorization) {
  if (empty()) return true;
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.substr(0, kScheme.size()) != kScheme) return false;
  const Digest digest = DigestOf(authorization.substr(kScheme.size()));
  const std::lock_guard<std::mutex> lock(mutex_);
  Reload();
  bool allowed = false;
  for (const auto* digests : {&fixed_, &from_file_}) {
    for (const Digest& known : *digests) {
      allowed |= CRYPTO_memcmp(known.data(), digest.data(), digest.size()) == 0;
    }
  }
  return allowed;
}

}  // namespace tamis
