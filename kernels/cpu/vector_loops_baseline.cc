// SPDX-License-Identifier: Apache-2.0
// Compiled for the baseline of the architecture.
#include "kernels/cpu/vector_loops_body.h"
#include "kernels/cpu/vector_loops_sets.h"

namespace tamis::cpu {

constinit const VectorLoops kBaselineLoops = MakeVectorLoops<16, 2, 1, 2>("baseline", 4);

}  // namespace tamis::cpu
