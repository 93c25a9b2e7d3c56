// SPDX-License-Identifier: Apache-2.0
// The debugging check of selection: at each filter layer all ranks that must agree hold one set,
// and it is the first k of their scores' maximum, found by sorting. Slow; allocates.
#pragma once

#include "parallel/control.h"
#include "runtime/model/select.h"

namespace tamis {

// Dies printing both sets when they differ. `control` outlives the observer; every rank observes,
// or none.
SelectionObserver MakeSelectionCheck(Control& control);

}  // namespace tamis
