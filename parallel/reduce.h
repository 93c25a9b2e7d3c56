// SPDX-License-Identifier: Apache-2.0
// The arithmetic of host reductions, shared by every host transport so that all of them give the
// same bits: element by element, in rank order, accumulated in float32, rounded once.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"
#include "parallel/collectives.h"

namespace tamis {

// Dies unless x is a tensor that a transport on `device` can reduce: f32, f16 or bf16, contiguous.
void CheckReducible(const TensorView& x, DeviceKind device = DeviceKind::kCpu);

// Dies unless out is [size, shape of x], both contiguous, on `device` and of one dtype.
void CheckGatherable(const TensorView& out, const ConstTensorView& x, int size,
                     DeviceKind device = DeviceKind::kCpu);

// to[i] = op over r < size of parts[r][i], for i < count. `to` may be one of the parts.
void ReduceInRankOrder(void* to, const void* const* parts, int size, int64_t count, DType dtype,
                       ReduceOp op);

}  // namespace tamis
