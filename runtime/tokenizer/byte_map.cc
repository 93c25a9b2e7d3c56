// SPDX-License-Identifier: Apache-2.0
// See byte_map.h.
#include "runtime/tokenizer/byte_map.h"

#include <array>

#include "runtime/tokenizer/utf8.h"

namespace tamis {
namespace {

constexpr bool StandsForItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> MakeByteToChar() {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) table[byte] = StandsForItself(byte) ? byte : next++;
  return table;
}

constexpr std::array<char32_t, 256> kByteToChar = MakeByteToChar();
constexpr size_t kChars = 0x100 + 68;

constexpr std::array<int16_t, kChars> MakeCharToByte() {
  std::array<int16_t, kChars> table{};
  for (int16_t& byte : table) byte = -1;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    table[kByteToChar[byte]] = static_cast<int16_t>(byte);
  }
  return table;
}

constexpr std::array<int16_t, kChars> kCharToByte = MakeCharToByte();

}  // namespace

char32_t ByteToChar(uint8_t byte) { return kByteToChar[byte]; }

std::optional<std::string> UnmapBytes(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const Utf8Char c = FrontUtf8(token);
    if (c.kind != Utf8Char::Kind::kValid || c.codepoint >= kChars || kCharToByte[c.codepoint] < 0) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(kCharToByte[c.codepoint]));
    token.remove_prefix(c.length);
  }
  return bytes;
}

}  // namespace tamis
