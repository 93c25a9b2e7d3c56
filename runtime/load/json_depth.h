// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace tamis {

// What we read nests a few levels. Who walks a document recurses, and thousands of levels would
// overflow the stack.
inline constexpr int kJsonDepthMax = 64;

// Whether arrays and objects are nested deeper than that; the text need not be valid JSON.
inline bool NestsTooDeep(std::string_view json) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;  // what is escaped is part of the string
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kJsonDepthMax) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace tamis
