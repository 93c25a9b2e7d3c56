// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file: eight bytes of length, then JSON that names every tensor's
// dtype, shape and bytes. Nothing in it is trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tamis {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // as the file says: "BF16"
  std::vector<int64_t> sizes;  // outermost first
  std::span<const std::byte> data;
};

// Entries of a whole file, in the order of their data, which they cover without gap or overlap.
// `path` is for messages.
absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensors(std::span<const std::byte> file,
                                                               const std::string& path);

}  // namespace tamis
