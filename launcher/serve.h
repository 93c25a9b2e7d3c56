// SPDX-License-Identifier: Apache-2.0
// `tamis serve`: builds the objects in order and runs until drained.
#pragma once

#include "launcher/serve_config.h"

namespace tamis {

// Returns the exit code. MPI may take its own arguments out of argv.
int RunServe(const ServeConfig& config, int* argc, char*** argv);

}  // namespace tamis
