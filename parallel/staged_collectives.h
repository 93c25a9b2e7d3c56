// SPDX-License-Identifier: Apache-2.0
// Collectives on device tensors through host memory. Private to parallel/ and its tests.
#pragma once

#include <memory>

#include "parallel/collectives.h"

namespace tamis {

// Copies to pinned memory, calls `host` (which must outlive the result), copies back, and waits:
// eager only. For ranks that share a GPU, and where GPUs cannot reach each other.
std::unique_ptr<Collectives> MakeStagedCollectives(Collectives& host);

}  // namespace tamis
