// SPDX-License-Identifier: Apache-2.0
// Models that are known by name, for benchmarks with dummy weights.
#pragma once

#include <string>
#include <vector>

#include "runtime/model/config.h"

namespace tamis {

// "llama-3-8b", "llama-3-70b": sizes as in the released config.json (Llama 3.1's, for its 128K
// positions), with max_positions raised to 4M so that any context can be measured.
// Null if the name is not known.
const ModelConfig* ModelShape(const std::string& name);

std::vector<std::string> ModelShapeNames();

}  // namespace tamis
