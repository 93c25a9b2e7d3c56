// SPDX-License-Identifier: Apache-2.0
// MatMul: chooses between our kernel for few rows and cuBLASLt. The choice depends on shapes and
// addresses only, so a captured graph and an eager step compute the same bits.
#include "kernels/backends.h"
#include "kernels/cuda/matmul.h"

namespace tamis::cuda {

void MatMul(TensorView out, ConstTensorView a, ConstTensorView weight, Scratch& scratch,
            const Stream& stream) {
  if (out.empty()) return;
  if (FitsSkinnyMatMul(a, weight)) return SkinnyMatMul(out, a, weight, stream);
  const ScratchScope scope(scratch);
  const auto workspace_elements = static_cast<int64_t>(kCublasWorkspaceBytes / 4);
  CublasMatMul(out, a, weight, scratch.Take({workspace_elements}, DType::kF32), stream);
}

}  // namespace tamis::cuda
