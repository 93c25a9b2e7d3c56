// SPDX-License-Identifier: Apache-2.0
// A normal form of Jinja source, so that chat templates can be recognised whatever their quotes,
// spaces, comments and line breaks. Nothing is executed.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tamis {

// The condition of each branch to leave out, in normal form.
using JinjaConditions = std::vector<std::string>;

// `source` with text and adjacent outputs joined to one {{a+b}}, strings in double quotes, x.y as
// x["y"], and no space that does not separate words; white-space control as Hugging Face sets
// it (trim_blocks, lstrip_blocks). The branches of `never` are left out: "if" without "else" whole,
// "elif" up to the next branch. Nothing if `source` is not lexically Jinja.
std::optional<std::string> CanonicalJinja(std::string_view source,
                                          const JinjaConditions& never = {});

}  // namespace tamis
