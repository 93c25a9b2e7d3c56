// SPDX-License-Identifier: Apache-2.0
// FillRandom: one thread per Philox block, four columns of a row. Bytes: R x C elements written.
#include <algorithm>

#include "kernels/backends.h"
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/philox.h"

namespace tamis::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kBlocksMax = 1 << 16;

template <typename T>
__global__ void FillRandomKernel(T* out,  // [R, C]
                                 int64_t rows, int64_t columns, uint64_t key, int64_t row_begin,
                                 int64_t column_begin, float mean, float reach) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t first = column_begin / 4;
  const int64_t groups = (column_begin + columns + 3) / 4 - first;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < rows * groups; i += step) {
    const int64_t row = i / groups;
    const int64_t group = first + i % groups;
    const PhiloxBlock block =
        Philox(key, static_cast<uint64_t>(group), static_cast<uint64_t>(row_begin + row));
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const int64_t column = group * 4 + word - column_begin;
      if (column < 0 || column >= columns) continue;
      // No fused multiply-add: the CPU has none, and the bits must be the same.
      const float unit = __fadd_rn(__fmul_rn(2.0f, UniformOpen(block.word[word])), -1.0f);
      out[row * columns + column] = FromFloat<T>(__fadd_rn(mean, __fmul_rn(reach, unit)));
    }
  }
}

}  // namespace

void FillRandom(TensorView out, uint64_t key, int64_t row_begin, int64_t column_begin, float mean,
                float reach, const Stream& stream) {
  if (out.empty()) return;
  const int64_t groups = (column_begin + out.shape[1] + 3) / 4 - column_begin / 4;
  const int64_t blocks = std::min(CeilDiv(out.shape[0] * groups, kThreads), kBlocksMax);
  DispatchFloat(out.dtype, [&](auto tag) {
    using T = decltype(tag);
    Launch(FillRandomKernel<T>, Grid(dim3(static_cast<unsigned>(blocks)), kThreads), stream,
           static_cast<T*>(out.data), out.shape[0], out.shape[1], key, row_begin, column_begin,
           mean, reach);
  });
}

}  // namespace tamis::cuda
