// SPDX-License-Identifier: Apache-2.0
// Who may call: a set of keys, compared in time that does not depend on them.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tamis {

// Thread-safe. Keeps digests, not the keys.
class ApiKeys {
 public:
  // `keys` as given, and those of `path` (one a line; empty lines and lines that begin with # do
  // not count), read again when the file has changed, at most once in `reload`. Without either
  // everybody may call. INVALID_ARGUMENT when the file cannot be read or holds no key.
  static absl::StatusOr<std::unique_ptr<ApiKeys>> Open(
      const std::vector<std::string>& keys, const std::string& path,
      std::chrono::milliseconds reload = std::chrono::seconds(5));

  // `authorization` is the value of that metadata, "Bearer KEY".
  bool Allow(std::string_view authorization);

  bool empty() const { return path_.empty() && fixed_.empty(); }

 private:
  using Digest = std::array<uint8_t, 32>;

  ApiKeys() = default;
  absl::StatusOr<std::vector<Digest>> ReadFile() const;
  // REQUIRES: mutex_ held.
  void Reload();

  std::string path_;
  std::chrono::milliseconds reload_{};
  std::vector<Digest> fixed_;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<Digest> from_file_;
  std::chrono::steady_clock::time_point looked_;
};

}  // namespace tamis
