// SPDX-License-Identifier: Apache-2.0
// The options of OmniKV selection.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/serve_config.h"

namespace tamis {

// "2048" is a count, "0.067" a fraction; nothing else is a budget.
std::optional<SelectionBudget> ParseSelectionBudget(const std::string& text);

void AddSelectionOptions(std::vector<ServeOption>* options);

}  // namespace tamis
