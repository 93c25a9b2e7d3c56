// SPDX-License-Identifier: Apache-2.0
// UTF-8 by the Unicode standard's table 3-7. Bad input becomes one U+FFFD per maximal subpart, the
// practice of the standard and of Rust's from_utf8_lossy, which Hugging Face uses.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tamis {

struct Utf8Char {
  enum class Kind { kValid, kInvalid, kIncomplete };
  Kind kind;
  size_t length;       // bytes; of the maximal subpart unless valid
  char32_t codepoint;  // kValid only
};

// The character at the front of `bytes`, which must not be empty. Incomplete: more bytes could
// still make it valid.
Utf8Char FrontUtf8(std::string_view bytes);

// Offset of the first byte that is not UTF-8; npos if there is none.
size_t FindInvalidUtf8(std::string_view text);

void AppendUtf8(char32_t codepoint, std::string& out);

// Appends `bytes` as UTF-8 and returns how many were used: all with `at_end`, else all but an
// unfinished character.
size_t AppendLossyUtf8(std::string_view bytes, bool at_end, std::string& out);

// The Unicode property White_Space.
bool IsWhiteSpace(char32_t codepoint);

// `text` without the white space at its ends, as Python's str.strip() has it: White_Space and the
// four information separators U+001C to U+001F. `text` must be UTF-8.
std::string_view StripPythonSpace(std::string_view text);

}  // namespace tamis
