// SPDX-License-Identifier: Apache-2.0
// GPT-2's reversible map between bytes and printable characters, in which vocabularies are stored:
// printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tamis {

// The character that stands for `byte`.
char32_t ByteToChar(uint8_t byte);

// The bytes that `token` stands for; nothing if a character of it stands for none.
std::optional<std::string> UnmapBytes(std::string_view token);

}  // namespace tamis
