// SPDX-License-Identifier: Apache-2.0
// Tells how long each all-reduce of a host transport took; such a transport is done when its call
// returns, so the host's clock is right.
#pragma once

#include <functional>
#include <memory>

#include "parallel/collectives.h"

namespace tamis {

// Owns `inner`, whose calls must not be capturable. `observe` gets seconds, on the calling thread.
std::unique_ptr<Collectives> TimeAllReduces(std::unique_ptr<Collectives> inner,
                                            std::function<void(double seconds)> observe);

}  // namespace tamis
