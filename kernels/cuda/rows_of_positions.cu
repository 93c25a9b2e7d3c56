// SPDX-License-Identifier: Apache-2.0
// RowsOfPositions: where the selected positions lie, so that the sparse layers need no block table
// for them.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"

namespace tamis::cuda {
namespace {

constexpr unsigned kThreads = 256;

__global__ void RowsOfPositionsKernel(int32_t* list_rows,          // [S, Hs, k_max]
                                      const int32_t* positions,    // [S, Hs, k_max]
                                      const int32_t* count,        // [S]
                                      const int32_t* block_table,  // [S, blocks_max]
                                      int k_max, int selection_heads, int blocks_max,
                                      int block_tokens, int rows_per_block) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int s = blockIdx.y / selection_heads;
  if (i >= k_max) return;
  const int64_t entry = int64_t{blockIdx.y} * k_max + i;
  int row = 0;
  if (i < count[s]) {
    const int position = positions[entry];
    row = block_table[int64_t{s} * blocks_max + position / block_tokens] * rows_per_block +
          position % block_tokens;
  }
  list_rows[entry] = row;
}

}  // namespace

void RowsOfPositions(TensorView list_rows, const SelectionView& selection,
                     ConstTensorView block_table, int64_t block_tokens, int64_t rows_per_block,
                     const Stream& stream) {
  const int64_t k_max = list_rows.shape[2];
  const dim3 blocks(static_cast<unsigned>(CeilDiv(k_max, kThreads)),
                    static_cast<unsigned>(list_rows.shape[0] * list_rows.shape[1]));
  Launch(RowsOfPositionsKernel, Grid(blocks, kThreads), stream, list_rows.As<int32_t>(),
         selection.positions.As<int32_t>(), selection.count.As<int32_t>(),
         block_table.As<int32_t>(), k_max, list_rows.shape[1], block_table.shape[1], block_tokens,
         rows_per_block);
}

}  // namespace tamis::cuda
