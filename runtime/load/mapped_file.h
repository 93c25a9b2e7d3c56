// SPDX-License-Identifier: Apache-2.0
// A file mapped read-only. Pages are read when asked for and given back when done with, so that a
// rank neither reads nor keeps other ranks' parts of a checkpoint.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace tamis {

// Move-only; unmapped on destruction. The file must not shrink while it is mapped: its size is
// taken at Open, and reading past a later end raises SIGBUS.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

  // Starts reading `part` (of any mapping) in the background.
  static void WillNeed(std::span<const std::byte> part);
  // Drops the whole pages inside `part` from this process's memory; they can be read again.
  static void Release(std::span<const std::byte> part);

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace tamis
