// SPDX-License-Identifier: Apache-2.0
// See utf8.h. The four irregular second-byte ranges (E0, ED, F0, F4) keep out overlong forms,
// surrogates and what lies above U+10FFFF.
#include "runtime/tokenizer/utf8.h"

#include <cstdint>

namespace tamis {

Utf8Char FrontUtf8(std::string_view bytes) {
  using Kind = Utf8Char::Kind;
  const auto lead = static_cast<uint8_t>(bytes[0]);
  if (lead < 0x80) return {Kind::kValid, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::kInvalid, 1, 0};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t codepoint = lead & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Kind::kIncomplete, i, 0};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    if (byte < low || byte > high) return {Kind::kInvalid, i, 0};
    codepoint = codepoint << 6 | (byte & 0x3FU);
    low = 0x80;
    high = 0xBF;
  }
  return {Kind::kValid, length, codepoint};
}

size_t FindInvalidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Char c = FrontUtf8(text.substr(i));
    if (c.kind != Utf8Char::Kind::kValid) return i;
    i += c.length;
  }
  return std::string_view::npos;
}

void AppendUtf8(char32_t codepoint, std::string& out) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (codepoint < 0x80) {
    put(codepoint);
  } else if (codepoint < 0x800) {
    put(0xC0 | codepoint >> 6);
    put(0x80 | (codepoint & 0x3F));
  } else if (codepoint < 0x10000) {
    put(0xE0 | codepoint >> 12);
    put(0x80 | (codepoint >> 6 & 0x3F));
    put(0x80 | (codepoint & 0x3F));
  } else {
    put(0xF0 | codepoint >> 18);
    put(0x80 | (codepoint >> 12 & 0x3F));
    put(0x80 | (codepoint >> 6 & 0x3F));
    put(0x80 | (codepoint & 0x3F));
  }
}

size_t AppendLossyUtf8(std::string_view bytes, bool at_end, std::string& out) {
  size_t i = 0;
  while (i < bytes.size()) {
    const Utf8Char c = FrontUtf8(bytes.substr(i));
    if (c.kind == Utf8Char::Kind::kIncomplete && !at_end) break;
    if (c.kind == Utf8Char::Kind::kValid) {
      out.append(bytes.substr(i, c.length));
    } else {
      AppendUtf8(0xFFFD, out);
    }
    i += c.length;
  }
  return i;
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view StripPythonSpace(std::string_view text) {
  const auto is_space = [](char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); };
  while (!text.empty()) {
    const Utf8Char c = FrontUtf8(text);
    if (c.kind != Utf8Char::Kind::kValid || !is_space(c.codepoint)) break;
    text.remove_prefix(c.length);
  }
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
    const Utf8Char c = FrontUtf8(text.substr(start));
    if (c.kind != Utf8Char::Kind::kValid || !is_space(c.codepoint)) break;
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace tamis
