// SPDX-License-Identifier: Apache-2.0
// DecodeAttention: the whole context through split_attention.cuh.
#include "kernels/backends.h"
#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {

void DecodeAttention(TensorView out, ConstTensorView q, const KvPages& pages,
                     const DecodeBatch& batch, float scale, Scratch& scratch,
                     const Stream& stream) {
  if (out.empty()) return;
  ScratchScope scope(scratch);
  SplitAttention(MakeSplitParams(out, q, RowsOf(pages), batch, scale, scratch), q.dtype, stream);
}

}  // namespace tamis::cuda
