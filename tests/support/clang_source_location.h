// SPDX-License-Identifier: Apache-2.0
// std::source_location for clang 14, whose libstdc++ hides it for want of a builtin that came with
// clang 16. Included by the `fuzz` preset's flags only.
#pragma once

#include <cstdint>
#include <source_location>

#if !defined(__cpp_lib_source_location)
namespace std {
struct source_location {
  static constexpr source_location current(const char* file = __builtin_FILE(),
                                           const char* function = __builtin_FUNCTION(),
                                           uint_least32_t line = __builtin_LINE()) {
    return {file, function, line};
  }
  constexpr const char* file_name() const { return file; }
  constexpr const char* function_name() const { return function; }
  constexpr uint_least32_t line() const { return line_number; }

  const char* file = "";
  const char* function = "";
  uint_least32_t line_number = 0;
};
}  // namespace std
#endif
