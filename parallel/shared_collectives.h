// SPDX-License-Identifier: Apache-2.0
// Host collectives through shared memory. Private to parallel/ and its tests; others call
// MakeMpiGroup.
#pragma once

#include <memory>

#include "parallel/collectives.h"
#include "parallel/control.h"
#include "parallel/world.h"

namespace tamis {

// Collective. nullptr (on every rank alike) unless all ranks share one host's memory. `control`
// must outlive the result; its timeout bounds every wait.
std::unique_ptr<Collectives> MakeSharedCollectives(const World& world, Control& control);

}  // namespace tamis
