// SPDX-License-Identifier: Apache-2.0
// Embedding and GatherRows: copies of rows chosen by an index, zeros where the row is not held.
#include "kernels/backends.h"
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"

namespace tamis::cuda {
namespace {

// Rows are moved as units of `Unit` bytes; values are never looked at. One block per row.
template <typename Unit>
__global__ void GatherRowsKernel(Unit* out,           // [S, units]
                                 const Unit* x,       // [rows, units]
                                 const int32_t* ids,  // [S]
                                 int64_t first_row, int64_t rows, int64_t units) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t row = int64_t{ids[blockIdx.x]} - first_row;
  const bool held = row >= 0 && row < rows;
  Unit* to = out + blockIdx.x * units;
  const Unit* from = x + (held ? row : 0) * units;
  for (int64_t i = threadIdx.x; i < units; i += blockDim.x) to[i] = held ? from[i] : Unit{};
}

template <typename Unit>
void CopyRows(const TensorView& out, const ConstTensorView& x, const ConstTensorView& ids,
              int64_t first_row, const Stream& stream) {
  const int64_t row_bytes = out.shape[1] * static_cast<int64_t>(DTypeBytes(out.dtype));
  const int64_t units = row_bytes / static_cast<int64_t>(sizeof(Unit));
  const unsigned threads = units >= 512 ? 512 : static_cast<unsigned>(CeilDiv(units, 32) * 32);
  Launch(GatherRowsKernel<Unit>, Grid(static_cast<unsigned>(out.shape[0]), threads), stream,
         static_cast<Unit*>(out.data), static_cast<const Unit*>(x.data), ids.As<int32_t>(),
         first_row, x.shape[0], units);
}

void Gather(const TensorView& out, const ConstTensorView& x, const ConstTensorView& ids,
            int64_t first_row, const Stream& stream) {
  if (out.empty()) return;
  const size_t row_bytes = static_cast<size_t>(out.shape[1]) * DTypeBytes(out.dtype);
  if (row_bytes % 16 == 0 && Aligned16(out.data) && Aligned16(x.data)) {
    CopyRows<uint4>(out, x, ids, first_row, stream);
  } else {
    CopyRows<uint16_t>(out, x, ids, first_row, stream);
  }
}

}  // namespace

void Embedding(TensorView out, ConstTensorView table, ConstTensorView token_ids,
               int64_t vocab_begin, const Stream& stream) {
  Gather(out, table, token_ids, vocab_begin, stream);
}

void GatherRows(TensorView out, ConstTensorView x, ConstTensorView rows, const Stream& stream) {
  Gather(out, x, rows, 0, stream);
}

}  // namespace tamis::cuda
