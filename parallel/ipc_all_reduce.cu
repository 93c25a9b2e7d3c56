// SPDX-License-Identifier: Apache-2.0
// One-shot all-reduce: every rank sends all it has to every other rank and sums for itself, in
// rank order, so that all get the same bits. Bytes over each link: 2 x size of x, to each peer.
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/reduce.cuh"
#include "parallel/ipc_kernels.h"
#include "parallel/ipc_packets.cuh"

namespace tamis::cuda {
namespace {

constexpr int kNormThreadsMax = 1024;

template <typename T>
using WideVec = Vec<T, kVecWidth<T>>;

template <typename T>
__device__ __forceinline__ WideVec<T> AsVec(const uint4& bits) {
  WideVec<T> vec;
  memcpy(&vec, &bits, sizeof vec);
  return vec;
}
template <typename T>
__device__ __forceinline__ uint4 AsBits(const WideVec<T>& vec) {
  uint4 bits;
  memcpy(&bits, &vec, sizeof bits);
  return bits;
}

// The ranks' parts, combined in rank order in float32 and rounded once.
template <typename T, ReduceOp kOp, int kRanks>
__device__ __forceinline__ WideVec<T> Combine(const uint4 (&parts)[kRanks], int size) {
  float sum[kVecWidth<T>];
#pragma unroll
  for (int r = 0; r < kRanks; ++r) {
    if (r >= size) break;
    const WideVec<T> part = AsVec<T>(parts[r]);
#pragma unroll
    for (int j = 0; j < kVecWidth<T>; ++j) {
      const float value = ToFloat(part.v[j]);
      if (r == 0) {
        sum[j] = value;
      } else if constexpr (kOp == ReduceOp::kSum) {
        sum[j] += value;
      } else {
        const bool replaces = value > sum[j] || sum[j] != sum[j];  // a number beats NaN
        sum[j] = replaces ? value : sum[j];
      }
    }
  }
  WideVec<T> result;
#pragma unroll
  for (int j = 0; j < kVecWidth<T>; ++j) result.v[j] = FromFloat<T>(sum[j]);
  return result;
}

// kWhole: x is aligned and its last vec is full.
template <typename T, ReduceOp kOp, int kRanks, bool kWhole>
__global__ void __launch_bounds__(2 * kIpcThreads)
    AllReduceKernel(T* x, int items, const __grid_constant__ IpcView view) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const Round round(view, IpcCall::kAllReduce);
  constexpr int kWide = kVecWidth<T>;
  const int vec = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  T* at = x + int64_t{vec} * kWide;
  const int count = min(kWide, items - vec * kWide);
  if (count > 0) {
    WideVec<T> mine = {};
    if constexpr (kWhole) {
      mine = LoadVec<T, kWide>(at);
    } else {
      for (int j = 0; j < count; ++j) mine.v[j] = at[j];
    }
    const uint4 bits = AsBits<T>(mine);
    SendVecToAll<kRanks>(round, vec, bits);
    uint4 parts[kRanks];
    ReceiveVecs<kRanks>(round, vec, bits, parts);
    const WideVec<T> sum = Combine<T, kOp>(parts, round.size());
    if constexpr (kWhole) {
      StoreVec(at, sum);
    } else {
      for (int j = 0; j < count; ++j) at[j] = sum.v[j];
    }
  }
  round.End();
}

// One block per row, laid out as kernels/cuda/rms_norm.cu does it, for the same bits.
template <typename T, int kRanks>
__global__ void __launch_bounds__(kNormThreadsMax)
    AllReduceAddRmsNormKernel(T* out,           // [T, H]
                              T* residual,      // [T, H]
                              const T* x,       // [T, H]
                              const T* weight,  // [H]
                              float eps, int hidden, const __grid_constant__ IpcView view) {
  __shared__ float warp_sums[kNormThreadsMax / kWarpThreads];
  constexpr int kWide = kVecWidth<T>;
  const int column = static_cast<int>(threadIdx.x) * kWide;
  const bool inside = column < hidden;
  WideVec<T> scale = {};
  if (inside) scale = LoadVec<T, kWide>(weight + column);
  ReleaseSuccessor();
  AwaitPredecessor();
  const Round round(view, IpcCall::kAllReduceAddRmsNorm);
  const int64_t at = int64_t{blockIdx.x} * hidden + column;
  float value[kWide] = {};
  float square_sum = 0;
  if (inside) {
    const int vec = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const uint4 mine = AsBits<T>(LoadVec<T, kWide>(x + at));
    SendVecToAll<kRanks>(round, vec, mine);
    WideVec<T> sum = LoadVec<T, kWide>(residual + at);
    uint4 parts[kRanks];
    ReceiveVecs<kRanks>(round, vec, mine, parts);
    const WideVec<T> reduced = Combine<T, ReduceOp::kSum>(parts, round.size());
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      sum.v[j] = FromFloat<T>(ToFloat(sum.v[j]) + ToFloat(reduced.v[j]));
      value[j] = ToFloat(sum.v[j]);
      square_sum += value[j] * value[j];
    }
    StoreVec(residual + at, sum);
  }
  square_sum = BlockReduce(square_sum, SumOp{}, warp_sums);
  const float inverse = 1.0f / sqrtf(square_sum / static_cast<float>(hidden) + eps);
  if (inside) {
    WideVec<T> result;
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      result.v[j] = FromFloat<T>(value[j] * inverse * ToFloat(scale.v[j]));
    }
    StoreVec(out + at, result);
  }
  round.End();
}

unsigned NormThreads(int64_t hidden, DType dtype) {
  const auto wide = static_cast<int64_t>(kIpcVecBytes / DTypeBytes(dtype));
  return static_cast<unsigned>(CeilDiv(CeilDiv(hidden, wide), kWarpThreads) * kWarpThreads);
}

template <typename Run>
void ForEachFloat(Run&& run) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) DispatchFloat(dtype, run);
}

}  // namespace

void IpcAllReduce(void* x, int64_t items, DType dtype, ReduceOp op, const IpcView& view,
                  const Stream& stream) {
  const size_t bytes = static_cast<size_t>(items) * DTypeBytes(dtype);
  CHECK_LE(bytes, kIpcRoundBytes);
  const int64_t vecs = CeilDiv(static_cast<int64_t>(bytes), int64_t{kIpcVecBytes});
  const unsigned threads = IpcThreadsFor(vecs);
  const Grid grid(static_cast<unsigned>(CeilDiv(vecs, threads)), threads);
  const bool whole = Aligned16(x) && bytes % kIpcVecBytes == 0;
  DispatchFloat(dtype, [&](auto tag) {
    using T = decltype(tag);
    DispatchRanks(view.size, [&](auto ranks) {
      constexpr int kRanks = decltype(ranks)::value;
      auto* kernel = AllReduceKernel<T, ReduceOp::kSum, kRanks, true>;
      if (!whole) kernel = AllReduceKernel<T, ReduceOp::kSum, kRanks, false>;
      if (op == ReduceOp::kMax) kernel = AllReduceKernel<T, ReduceOp::kMax, kRanks, false>;
      Launch(kernel, grid, stream, static_cast<T*>(x), items, view);
    });
  });
}

bool IpcCanNorm(const TensorView& out, const TensorView& residual, const TensorView& x,
                const ConstTensorView& weight, const IpcLimits& limits) {
  const int64_t hidden = x.shape[1];
  return x.shape[0] <= std::min(kIpcBlocksMax, limits.multiprocessors) &&
         x.shape[0] * NormThreads(hidden, x.dtype) * kIpcVecBytes <= kIpcRoundBytes &&
         hidden * static_cast<int64_t>(DTypeBytes(x.dtype)) % int64_t{kIpcVecBytes} == 0 &&
         NormThreads(hidden, x.dtype) <= kNormThreadsMax && Aligned16(out.data) &&
         Aligned16(residual.data) && Aligned16(x.data) && Aligned16(weight.data);
}

void IpcAllReduceAddRmsNorm(TensorView out, TensorView residual, ConstTensorView x,
                            ConstTensorView weight, float eps, const IpcView& view,
                            const Stream& stream) {
  const int64_t hidden = x.shape[1];
  const unsigned threads = NormThreads(hidden, x.dtype);
  DispatchFloat(x.dtype, [&](auto tag) {
    using T = decltype(tag);
    DispatchRanks(view.size, [&](auto ranks) {
      Launch(AllReduceAddRmsNormKernel<T, decltype(ranks)::value>,
             Grid(static_cast<unsigned>(x.shape[0]), threads), stream, static_cast<T*>(out.data),
             static_cast<T*>(residual.data), static_cast<const T*>(x.data),
             static_cast<const T*>(weight.data), eps, hidden, view);
    });
  });
}

void IpcLoadReduceKernels(int size) {
  ForEachFloat([&](auto tag) {
    using T = decltype(tag);
    DispatchRanks(size, [&](auto ranks) {
      constexpr int kRanks = decltype(ranks)::value;
      LoadKernel(AllReduceKernel<T, ReduceOp::kSum, kRanks, true>);
      LoadKernel(AllReduceKernel<T, ReduceOp::kSum, kRanks, false>);
      LoadKernel(AllReduceKernel<T, ReduceOp::kMax, kRanks, false>);
      LoadKernel(AllReduceAddRmsNormKernel<T, kRanks>);
    });
  });
}

}  // namespace tamis::cuda
