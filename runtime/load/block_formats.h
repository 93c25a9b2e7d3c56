// SPDX-License-Identifier: Apache-2.0
// How tensor elements are stored in files: plain floats, and the block-quantised types of GGUF.
// A row is decoded from any column on, whatever block it starts in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "parallel/shard.h"

namespace tamis {

enum class StoredType : uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1, kQ6_K };

// Elements that are stored together, and the bytes they take.
struct BlockFormat {
  int64_t elements;
  size_t bytes;
};
BlockFormat BlockFormatOf(StoredType type);
const char* StoredTypeName(StoredType type);

// Decodes columns [columns.begin, columns.end()) of one row. `row` points at the row's first
// block and holds all of it; `out` has columns.count elements.
void DecodeRow(StoredType type, std::span<const std::byte> row, Slice columns, float* out);

}  // namespace tamis
