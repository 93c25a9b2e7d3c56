// SPDX-License-Identifier: Apache-2.0
// The compiled versions of the vector loops; only the baseline exists off x86-64.
#pragma once

#include "kernels/cpu/vector_loops.h"

namespace tamis::cpu {

extern const VectorLoops kAvx512Loops;
extern const VectorLoops kAvx2Loops;
extern const VectorLoops kBaselineLoops;

}  // namespace tamis::cpu
