// SPDX-License-Identifier: Apache-2.0
// How many threads the matrix products of CPU ranks use.
#pragma once

namespace tamis {

// Process-wide, like the BLAS library it configures; called once at start-up. Ranks that share a
// machine each take their part of its cores: one thread per rank is never wrong.
void SetCpuMathThreads(int num_threads);

}  // namespace tamis
