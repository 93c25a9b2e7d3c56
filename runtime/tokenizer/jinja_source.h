// SPDX-License-Identifier: Apache-2.0
// A normal form of Jinja source, so that chat templates can be recognised whatever their quotes,
// spaces, comments and line breaks. Nothing is executed.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tamis {

// `source` with text and adjacent outputs joined to one {{a+b}}, strings in double quotes, x.y as
// x["y"], and no space that does not separate words; white-space control as Hugging Face sets
// it (trim_blocks, lstrip_blocks). Nothing if `source` is not lexically Jinja.
std::optional<std::string> CanonicalJinja(std::string_view source);

}  // namespace tamis
