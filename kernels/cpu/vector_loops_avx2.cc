// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2.
#include "kernels/cpu/vector_loops_body.h"
#include "kernels/cpu/vector_loops_sets.h"

namespace tamis::cpu {

constinit const VectorLoops kAvx2Loops = MakeVectorLoops<32, 4, 2, 2>("avx2", 4);

}  // namespace tamis::cpu
