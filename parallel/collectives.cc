// SPDX-License-Identifier: Apache-2.0
#include "parallel/collectives.h"

#include "kernels/ops.h"

namespace tamis {

void Collectives::AllReduceAddRmsNorm(TensorView out,          // float [T, H]
                                      TensorView residual,     // float [T, H]
                                      TensorView x,            // float [T, H]
                                      ConstTensorView weight,  // float [H]
                                      float eps, const Stream& stream) {
  AllReduce(x, ReduceOp::kSum, stream);
  ops::AddRmsNorm(out, residual, x, weight, eps, stream);
}

}  // namespace tamis
