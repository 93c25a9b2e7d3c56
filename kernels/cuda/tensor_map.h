// SPDX-License-Identifier: Apache-2.0
// What the copy engine of Hopper GPUs is told about a matrix in device memory. The map is passed to
// kernels by value.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/tensor.h"

namespace tamis::cuda {

// A matrix of 16-bit floats [rows, columns], rows `row_stride` elements apart, to be fetched in
// boxes of box_rows x 64 elements with the 128-byte swizzle (warpgroup.cuh). The address and the
// stride are multiples of 16 bytes.
CUtensorMap BoxesOf(const void* data, DType dtype, int64_t rows, int64_t columns,
                    int64_t row_stride, int64_t box_rows);

}  // namespace tamis::cuda
