// SPDX-License-Identifier: Apache-2.0
// GatherAttention: sinks, listed rows and tail through split_attention.cuh.
#include "kernels/backends.h"
#include "kernels/cuda/split_attention.cuh"

namespace tamis::cuda {

void GatherAttention(TensorView out, ConstTensorView q, const KvRows& rows,
                     ConstTensorView list_rows, const SelectionView& selection,
                     const DecodeBatch& batch, float scale, Scratch& scratch,
                     const Stream& stream) {
  if (out.empty()) return;
  ScratchScope scope(scratch);
  // A sequence that decodes densely at this step attends to its whole context.
  SplitParams params = MakeSplitParams(out, q, rows, batch, scale, scratch);
  params.history_settled = false;  // the list comes from this step
  params.list_rows = list_rows.As<int32_t>();
  params.count = selection.count.As<int32_t>();
  params.sink_end = selection.sink_end.As<int32_t>();
  params.tail_begin = selection.tail_begin.As<int32_t>();
  params.list_heads = static_cast<int>(list_rows.shape[1]);
  params.k_max = static_cast<int>(list_rows.shape[2]);
  SplitAttention(params, q.dtype, stream);
}

}  // namespace tamis::cuda
