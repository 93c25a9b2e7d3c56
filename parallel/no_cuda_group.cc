// SPDX-License-Identifier: Apache-2.0
// Stands in for cuda_group.cc when built without CUDA.
#include "kernels/check.h"
#include "parallel/cuda_group.h"

namespace tamis {

Group OnCuda(Group, CudaTransport) { Die("built without CUDA"); }

int RanksOnMyGpu(Control&) { Die("built without CUDA"); }

}  // namespace tamis
