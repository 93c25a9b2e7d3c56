// SPDX-License-Identifier: Apache-2.0
// Stand-ins for what measures GPUs, in a build without CUDA.
#include "kernels/bench/read_ceiling.h"
#include "kernels/bench/tables.h"
#include "kernels/check.h"

namespace tamis::bench {

double CudaReadCeiling() { Die("CudaReadCeiling: built without CUDA"); }

std::vector<std::string> KernelTableNames() { return {}; }

KernelTables RunKernelTables(const std::vector<std::string>&) {
  Die("RunKernelTables: built without CUDA");
}

}  // namespace tamis::bench
