// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vector_loops.h"

#include "kernels/cpu/vector_loops_sets.h"

namespace tamis::cpu {

VectorLoopsList RunnableVectorLoops() {
  VectorLoopsList list;
  int count = 0;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) list.loops[count++] = &kAvx512Loops;
  if (__builtin_cpu_supports("avx2")) list.loops[count++] = &kAvx2Loops;
#endif
  list.loops[count] = &kBaselineLoops;
  return list;
}

const VectorLoops& BestVectorLoops() {
  static const VectorLoops* const best = RunnableVectorLoops().loops[0];
  return *best;
}

}  // namespace tamis::cpu
