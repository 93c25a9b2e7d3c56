// SPDX-License-Identifier: Apache-2.0
// All-gather: every rank sends its bytes to every other rank, which copies them out of its inbox.
#include "parallel/ipc_kernels.h"
#include "parallel/ipc_packets.cuh"

namespace tamis::cuda {
namespace {

bool Aligned(const void* data, size_t to) { return reinterpret_cast<uintptr_t>(data) % to == 0; }

// kWhole: everything is aligned and the last vec is full.
template <bool kWhole>
__device__ __forceinline__ uint4 LoadBytes(const std::byte* from, int count) {
  if constexpr (kWhole) return *reinterpret_cast<const uint4*>(from);
  uint4 bits = {};
  auto* bytes = reinterpret_cast<std::byte*>(&bits);
#pragma unroll
  for (int i = 0; i < static_cast<int>(kIpcVecBytes); ++i) {
    if (i < count) bytes[i] = from[i];
  }
  return bits;
}

template <bool kWhole>
__device__ __forceinline__ void StoreBytes(std::byte* to, const uint4& bits, int count) {
  if constexpr (kWhole) {
    *reinterpret_cast<uint4*>(to) = bits;
    return;
  }
  const auto* bytes = reinterpret_cast<const std::byte*>(&bits);
#pragma unroll
  for (int i = 0; i < static_cast<int>(kIpcVecBytes); ++i) {
    if (i < count) to[i] = bytes[i];
  }
}

template <int kRanks, bool kWhole>
__global__ void __launch_bounds__(2 * kIpcThreads)
    AllGatherKernel(std::byte* out, size_t stride_bytes, const std::byte* x, int bytes,
                    const __grid_constant__ IpcView view) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const Round round(view, IpcCall::kAllGather);
  constexpr int kVec = static_cast<int>(kIpcVecBytes);
  const int vec = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int count = min(kVec, bytes - vec * kVec);
  if (count > 0) {
    const size_t at = static_cast<size_t>(vec) * kVec;
    const uint4 mine = LoadBytes<kWhole>(x + at, count);
    SendVecToAll<kRanks>(round, vec, mine);
    uint4 parts[kRanks];
    ReceiveVecs<kRanks>(round, vec, mine, parts);
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r < round.size()) StoreBytes<kWhole>(out + r * stride_bytes + at, parts[r], count);
    }
  }
  round.End();
}

}  // namespace

void IpcAllGather(void* out, size_t stride_bytes, const void* x, size_t bytes, const IpcView& view,
                  const Stream& stream) {
  CHECK_LE(bytes, kIpcRoundBytes);
  const int64_t vecs = CeilDiv(static_cast<int64_t>(bytes), int64_t{kIpcVecBytes});
  const unsigned threads = IpcThreadsFor(vecs);
  const bool whole = Aligned(out, 16) && Aligned(x, 16) && stride_bytes % kIpcVecBytes == 0 &&
                     bytes % kIpcVecBytes == 0;
  DispatchRanks(view.size, [&](auto ranks) {
    constexpr int kRanks = decltype(ranks)::value;
    Launch(whole ? AllGatherKernel<kRanks, true> : AllGatherKernel<kRanks, false>,
           Grid(static_cast<unsigned>(CeilDiv(vecs, threads)), threads), stream,
           static_cast<std::byte*>(out), stride_bytes, static_cast<const std::byte*>(x), bytes,
           view);
  });
}

void IpcLoadGatherKernels(int size) {
  DispatchRanks(size, [](auto ranks) {
    LoadKernel(AllGatherKernel<decltype(ranks)::value, true>);
    LoadKernel(AllGatherKernel<decltype(ranks)::value, false>);
  });
}

}  // namespace tamis::cuda
