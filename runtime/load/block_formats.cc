// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/block_formats.h"

#include <algorithm>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cpu/convert.h"

namespace tamis {
namespace {

template <typename T>
T ReadAs(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float HalfAt(const std::byte* bytes) { return cpu::ToFloat(ReadAs<cpu::F16>(bytes)); }

int ByteAt(const std::byte* bytes) { return std::to_integer<int>(*bytes); }

// Each block type: how many elements in how many bytes, and how they become floats.

struct F32 {
  static constexpr int64_t kElements = 1;
  static constexpr size_t kBytes = 4;
  static void Decode(const std::byte* block, float* out) { *out = ReadAs<float>(block); }
};

struct F16 {
  static constexpr int64_t kElements = 1;
  static constexpr size_t kBytes = 2;
  static void Decode(const std::byte* block, float* out) { *out = HalfAt(block); }
};

struct BF16 {
  static constexpr int64_t kElements = 1;
  static constexpr size_t kBytes = 2;
  static void Decode(const std::byte* block, float* out) {
    *out = cpu::ToFloat(ReadAs<cpu::BF16>(block));
  }
};

struct Q8_0 {  // f16 scale, 32 signed bytes
  static constexpr int64_t kElements = 32;
  static constexpr size_t kBytes = 2 + 32;
  static void Decode(const std::byte* block, float* out) {
    const float scale = HalfAt(block);
    for (int i = 0; i < 32; ++i) {
      out[i] = scale * static_cast<float>(ReadAs<int8_t>(block + 2 + i));
    }
  }
};

struct Q4_0 {  // f16 scale, 16 bytes: element i in the low half of byte i, i + 16 in the high one
  static constexpr int64_t kElements = 32;
  static constexpr size_t kBytes = 2 + 16;
  static void Decode(const std::byte* block, float* out) {
    const float scale = HalfAt(block);
    for (int i = 0; i < 16; ++i) {
      const int pair = ByteAt(block + 2 + i);
      out[i] = scale * static_cast<float>((pair & 15) - 8);
      out[i + 16] = scale * static_cast<float>((pair >> 4) - 8);
    }
  }
};

struct Q4_1 {  // f16 scale, f16 minimum, 16 bytes as in Q4_0 but unsigned
  static constexpr int64_t kElements = 32;
  static constexpr size_t kBytes = 2 + 2 + 16;
  static void Decode(const std::byte* block, float* out) {
    const float scale = HalfAt(block);
    const float minimum = HalfAt(block + 2);
    for (int i = 0; i < 16; ++i) {
      const int pair = ByteAt(block + 4 + i);
      out[i] = scale * static_cast<float>(pair & 15) + minimum;
      out[i + 16] = scale * static_cast<float>(pair >> 4) + minimum;
    }
  }
};

// 256 elements of 6 bits: low 4 bits in 128 bytes, high 2 bits in 64 bytes, 16 signed 8-bit scales,
// one f16 scale of those. Each half of 128 elements is four runs of 32; runs 0 and 2 share low-bit
// bytes 0-31, runs 1 and 3 bytes 32-63, and all four take two bits each of the same high-bit byte.
struct Q6_K {
  static constexpr int64_t kElements = 256;
  static constexpr size_t kBytes = 128 + 64 + 16 + 2;
  static void Decode(const std::byte* block, float* out) {
    const float scale = HalfAt(block + 208);
    for (int half = 0; half < 2; ++half) {
      const std::byte* low_bits = block + half * 64;
      const std::byte* high_bits = block + 128 + half * 32;
      const std::byte* scales = block + 192 + half * 8;
      for (int run = 0; run < 4; ++run) {
        for (int i = 0; i < 32; ++i) {
          const int low = (ByteAt(low_bits + (run % 2) * 32 + i) >> (run / 2 * 4)) & 15;
          const int high = (ByteAt(high_bits + i) >> (run * 2)) & 3;
          const float run_scale =
              scale * static_cast<float>(ReadAs<int8_t>(scales + run * 2 + i / 16));
          out[half * 128 + run * 32 + i] = run_scale * static_cast<float>((high << 4 | low) - 32);
        }
      }
    }
  }
};

template <typename Format>
void DecodeBlocks(std::span<const std::byte> row, Slice columns, float* out) {
  int64_t column = columns.begin;
  while (column < columns.end()) {
    const int64_t block_idx = column / Format::kElements;
    const std::byte* block = row.data() + static_cast<size_t>(block_idx) * Format::kBytes;
    const int64_t first = column % Format::kElements;
    const int64_t count = std::min(Format::kElements - first, columns.end() - column);
    if (count == Format::kElements) {
      Format::Decode(block, out);
    } else {
      float whole[Format::kElements];
      Format::Decode(block, whole);
      std::copy_n(whole + first, count, out);
    }
    out += count;
    column += count;
  }
}

// Calls visit with a value of the type's block struct.
template <typename Visit>
auto VisitFormat(StoredType type, const Visit& visit) {
  switch (type) {
    case StoredType::kF32: return visit(F32{});
    case StoredType::kF16: return visit(F16{});
    case StoredType::kBF16: return visit(BF16{});
    case StoredType::kQ8_0: return visit(Q8_0{});
    case StoredType::kQ4_0: return visit(Q4_0{});
    case StoredType::kQ4_1: return visit(Q4_1{});
    case StoredType::kQ6_K: return visit(Q6_K{});
  }
  Die("unknown stored type");
}

}  // namespace

BlockFormat BlockFormatOf(StoredType type) {
  return VisitFormat(type, []<typename Format>(Format) {
    return BlockFormat{Format::kElements, Format::kBytes};
  });
}

const char* StoredTypeName(StoredType type) {
  switch (type) {
    case StoredType::kF32: return "F32";
    case StoredType::kF16: return "F16";
    case StoredType::kBF16: return "BF16";
    case StoredType::kQ8_0: return "Q8_0";
    case StoredType::kQ4_0: return "Q4_0";
    case StoredType::kQ4_1: return "Q4_1";
    case StoredType::kQ6_K: return "Q6_K";
  }
  return "unknown";
}

void DecodeRow(StoredType type, std::span<const std::byte> row, Slice columns, float* out) {
  const BlockFormat format = BlockFormatOf(type);
  const int64_t blocks_end = (columns.end() + format.elements - 1) / format.elements;
  CHECK(columns.begin >= 0 && static_cast<size_t>(blocks_end) * format.bytes <= row.size())
      << "columns " << columns.begin << "+" << columns.count << " of a row of " << row.size()
      << " bytes of " << StoredTypeName(type);
  VisitFormat(type, [&]<typename Format>(Format) { DecodeBlocks<Format>(row, columns, out); });
}

}  // namespace tamis
