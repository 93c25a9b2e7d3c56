// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512f.
#include "kernels/cpu/vector_loops_body.h"
#include "kernels/cpu/vector_loops_sets.h"

namespace tamis::cpu {

constinit const VectorLoops kAvx512Loops = MakeVectorLoops<64, 4, 4, 4>("avx512", 32);

}  // namespace tamis::cpu
