// SPDX-License-Identifier: Apache-2.0
// Names from files in error messages: escaped and cut, since a corrupt file can name anything.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tamis {

inline std::string Quoted(std::string_view name) {
  constexpr size_t kShownMax = 96;
  const bool cut = name.size() > kShownMax;
  const std::string_view shown = name.substr(0, kShownMax);
  return absl::StrCat("\"", absl::CHexEscape(absl::string_view(shown.data(), shown.size())),
                      cut ? "...\"" : "\"");
}

}  // namespace tamis
