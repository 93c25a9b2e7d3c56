// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/bench/read_ceiling.h"
#include "kernels/cuda/check_cuda.h"
#include "kernels/cuda/launch.cuh"

namespace tamis::bench {
namespace {

constexpr int kRuns = 10;

// Reads everything once; the sum keeps the loads alive.
__global__ void __launch_bounds__(512)
    ReadKernel(const uint4* from, int64_t count, uint32_t* sink) {
  constexpr int kUnroll = 8;
  uint32_t sum = 0;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += stride * kUnroll) {
    uint4 v[kUnroll];
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      v[j] = i + j * stride < count ? __ldcs(from + i + j * stride) : uint4{};
    }
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x9E3779B9u) *sink = sum;
}

}  // namespace

double CudaReadCeiling() {
  const Stream stream = Stream::Cuda();
  const Buffer buffer(MemoryKind::kCuda, kCudaCeilingBytes, "read ceiling");
  const Buffer sink(MemoryKind::kCuda, sizeof(uint32_t), "read ceiling");
  CheckCuda(cudaMemsetAsync(buffer.data(), 0x5a, buffer.bytes(), stream.cuda()));
  const unsigned blocks = 4u * cuda::DeviceAttribute(cudaDevAttrMultiProcessorCount);
  cudaEvent_t begin = nullptr, end = nullptr;
  CheckCuda(cudaEventCreate(&begin));
  CheckCuda(cudaEventCreate(&end));
  double best = 0;
  for (const unsigned factor : {1u, 4u, 16u}) {
    for (int run = 0; run < kRuns; ++run) {
      CheckCuda(cudaEventRecord(begin, stream.cuda()));
      ReadKernel<<<blocks * factor, 512, 0, stream.cuda()>>>(
          static_cast<const uint4*>(buffer.data()), kCudaCeilingBytes / 16,
          static_cast<uint32_t*>(sink.data()));
      CheckCuda(cudaGetLastError());
      CheckCuda(cudaEventRecord(end, stream.cuda()));
      CheckCuda(cudaEventSynchronize(end));
      float ms = 0;
      CheckCuda(cudaEventElapsedTime(&ms, begin, end));
      best = std::max(best, static_cast<double>(kCudaCeilingBytes) / static_cast<double>(ms) * 1e3);
    }
  }
  CheckCuda(cudaEventDestroy(begin));
  CheckCuda(cudaEventDestroy(end));
  return best;
}

}  // namespace tamis::bench
