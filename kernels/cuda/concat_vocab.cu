// SPDX-License-Identifier: Apache-2.0
// ConcatVocab: the ranks' slices of the logits side by side, their padding left out.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"

namespace tamis::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kPerThread = 4;

// Block (i, s, w) copies a piece of row s of rank w's slice.
__global__ void ConcatVocabKernel(float* out,              // [S, V]
                                  const float* gathered,   // [W, S, V_pad]
                                  const int32_t* offsets,  // [W + 1]
                                  int64_t vocab, int64_t padded) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t s = blockIdx.y;
  const int begin = offsets[blockIdx.z];
  const int count = offsets[blockIdx.z + 1] - begin;
  const float* from = gathered + (int64_t{blockIdx.z} * gridDim.y + s) * padded;
  float* to = out + s * vocab + begin;
  const int first = blockIdx.x * kThreads * kPerThread + threadIdx.x;
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const int v = first + j * static_cast<int>(kThreads);
    if (v < count) to[v] = from[v];
  }
}

}  // namespace

void ConcatVocab(TensorView out, ConstTensorView gathered, ConstTensorView offsets,
                 const Stream& stream) {
  if (out.empty()) return;
  const int64_t padded = gathered.shape[2];
  const dim3 blocks(static_cast<unsigned>(CeilDiv(padded, kThreads * kPerThread)),
                    static_cast<unsigned>(gathered.shape[1]),
                    static_cast<unsigned>(gathered.shape[0]));
  Launch(ConcatVocabKernel, Grid(blocks, kThreads), stream, out.As<float>(), gathered.As<float>(),
         offsets.As<int32_t>(), out.shape[1], padded);
}

}  // namespace tamis::cuda
