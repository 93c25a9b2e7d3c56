// SPDX-License-Identifier: Apache-2.0
// CheckCuda and CheckCublas: a failed call of the CUDA libraries is a broken process.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <source_location>
#include <string>

#include "kernels/check.h"

namespace tamis {

inline void CheckCuda(cudaError_t status,
                      std::source_location site = std::source_location::current()) {
  if (status == cudaSuccess) [[likely]]
    return;
  Die(std::string("CUDA: ") + cudaGetErrorName(status) + ": " + cudaGetErrorString(status), site);
}

inline void CheckCublas(cublasStatus_t status,
                        std::source_location site = std::source_location::current()) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  Die(std::string("cuBLASLt: ") + cublasLtGetStatusName(status), site);
}

}  // namespace tamis
