// SPDX-License-Identifier: Apache-2.0
// The gate of the feed-forward block, shared by SiluMul and the product that is fused with it.
#pragma once

#include "kernels/cuda/dtype.cuh"

namespace tamis::cuda {

// silu(gate) * up in float32, rounded once.
template <typename T>
__device__ __forceinline__ T SiluTimes(T gate, T up) {
  const float g = ToFloat(gate);
  return FromFloat<T>(g / (1.0f + __expf(-g)) * ToFloat(up));
}

}  // namespace tamis::cuda
