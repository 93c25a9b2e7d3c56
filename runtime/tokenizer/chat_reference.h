// SPDX-License-Identifier: Apache-2.0
// Chat templates are recognised, not executed: a template is known when its normal form is that of
// a reference, so a variant that renders differently is refused and never approximated.
#pragma once

#include <optional>
#include <string>

#include "runtime/tokenizer/tokenizer.h"

namespace tamis {

struct KnownTemplate {
  ChatStyle style;
  // What the template itself says: ChatML's default system message, the date of Llama 3.1.
  std::optional<std::string> text;
};

// Which known template `jinja` is, when there are no tools; nothing if none.
std::optional<KnownTemplate> RecogniseTemplate(const std::string& jinja);

}  // namespace tamis
