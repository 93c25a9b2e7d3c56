// SPDX-License-Identifier: Apache-2.0
// Launching kernels so that neighbours in a stream overlap: every kernel of this folder is
// launched with programmatic stream serialization, lets its successor start at once, and waits for
// its predecessor before it touches anything that an earlier kernel may write or read. Only
// weights, which no kernel writes, may be read before AwaitPredecessor(), and what the caller says
// was settled before the step (DecodeBatch::history_settled).
#pragma once

#include <cuda_runtime.h>

#include <source_location>
#include <utility>

#include "kernels/cuda/check_cuda.h"
#include "kernels/device.h"

namespace tamis::cuda {

// Blocks until all earlier kernels have finished and their writes are visible. Every thread of
// every kernel calls it, also where it has nothing to do: completion is transitive only then.
__device__ __forceinline__ void AwaitPredecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel's blocks take free places while this one still runs.
__device__ __forceinline__ void ReleaseSuccessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Kernels run beside each other on a multiprocessor only while they ask for one division of its
// memory between cache and shared memory; changing it waits until the multiprocessor is empty. With
// each kernel's own default a decode layer took 187 us instead of 165 (bench/layer_bench.cc). More
// shared memory than half starves the products' cache; a block that needs more still gets it.
constexpr int kSharedMemoryPercent = 50;

// How a kernel is laid out, and where the launch stands in the source.
struct Grid {
  Grid(dim3 blocks_in, unsigned threads_in, size_t smem_bytes_in = 0,
       std::source_location site_in = std::source_location::current())
      : blocks(blocks_in), threads(threads_in), smem_bytes(smem_bytes_in), site(site_in) {}
  dim3 blocks;
  unsigned threads;
  size_t smem_bytes;
  std::source_location site;
  int shared_memory_percent = kSharedMemoryPercent;
  unsigned cluster = 1;  // blocks of x that see each other's shared memory (Hopper)
};

inline int DeviceAttribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  CheckCuda(cudaGetDevice(&device));
  CheckCuda(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

// Blocks get more than the default 48 KiB of shared memory only after this; what a kernel declares
// statically (up to half of them, here) counts, too.
template <typename... Params>
void AllowSharedBytes(void (*kernel)(Params...), size_t bytes) {
  if (bytes <= 24 * 1024) return;
  CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(bytes)));
}

template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), const Grid& grid, const Stream& stream, Args&&... args) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  AllowSharedBytes(kernel, grid.smem_bytes);
  CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 grid.shared_memory_percent));
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {grid.cluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(grid.threads);
  config.dynamicSmemBytes = grid.smem_bytes;
  config.stream = stream.cuda();
  config.attrs = attributes;
  const unsigned known = grid.cluster > 1 ? 2 : 1;
  config.numAttrs = DeviceAttribute(cudaDevAttrComputeCapabilityMajor) >= 9 ? known : 0;
  CheckCuda(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(std::forward<Args>(args))...),
            grid.site);
  CheckCuda(cudaGetLastError(), grid.site);
}

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace tamis::cuda
