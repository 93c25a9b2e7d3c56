// SPDX-License-Identifier: Apache-2.0
// SplitAttention for what tensor cores do not take: float32, and head sizes or strides that no
// 16-byte access fits. Correct, not fast.
#pragma once

#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {

void ScalarSplitAttention(const SplitParams& params, DType dtype, const Stream& stream);

}  // namespace tamis::cuda
