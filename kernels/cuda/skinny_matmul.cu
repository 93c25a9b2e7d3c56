// SPDX-License-Identifier: Apache-2.0
// Products of few rows, bound by reading the weights once: N x K elements. Weights go from global
// memory straight into tensor-core fragments: the order of the summed elements is free as long as
// both operands agree, so a lane's 16 bytes of a weight row are its fragments of two products.
// Warps share out K; their sums meet in shared memory in a fixed order. The first weights are
// asked for before the predecessor has finished, since no kernel writes weights.
#include <algorithm>

#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/silu.cuh"

namespace tamis::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kPieces = 2;                // of 32 elements of K that a warp takes at once
constexpr int kWarpDepth = 32 * kPieces;  // K elements of a warp's turn

// What a block takes: tiles of 8 weight rows (columns of the product), and how many turns it keeps
// in flight. Three tiles where that makes one wave of blocks out of one and a half. Gated: the
// first tile is of the gate, the second the same columns of the other half.
template <int kRowTiles_, int kTurns_, bool kGated_ = false>
struct BlockShape {
  static constexpr int kRowTiles = kRowTiles_;
  static constexpr int kBlockRows = 8 * kRowTiles;
  static constexpr bool kGated = kGated_;
  static constexpr int kOutColumns = kGated ? 8 : kBlockRows;
  static constexpr int kTurns = kTurns_;
  static constexpr int kFlight = kTurns * kPieces;
  using Weights = uint4[kFlight][kRowTiles];
};
using TwoTiles = BlockShape<2, 2>;
using ThreeTiles = BlockShape<3, 1>;
using GateAndUp = BlockShape<2, 2, true>;

// Of the weights of all blocks that start at once, into the L2 before the predecessor is done.
constexpr int64_t kPrefetchBytesMax = int64_t{8} << 20;

struct SkinnyParams {
  const void* a;       // [M, K], rows a_stride elements apart
  const void* weight;  // [N, K]; gated: [2 * N, K]
  void* out;           // [M, N], rows out_stride elements apart
  int64_t a_stride, out_stride;
  int rows, columns, inner;  // M, N, K
  int prefetch_blocks;       // those that start at once
  uint32_t prefetch_bytes;   // of each of their rows
};

// The weight row that is row `row` of this block's tiles; -1 past the end.
template <typename Shape>
__device__ __forceinline__ int WeightRow(const SkinnyParams& p, int row) {
  const int in_out = Shape::kGated ? row % 8 : row;
  const int column = static_cast<int>(blockIdx.x) * Shape::kOutColumns + in_out;
  if (column >= p.columns) return -1;
  return Shape::kGated ? column + row / 8 * p.columns : column;
}

// Starts this block's rows on their way to the L2.
template <typename Shape>
__device__ __forceinline__ void PrefetchRows(const SkinnyParams& p, int element_bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (static_cast<int>(blockIdx.x) >= p.prefetch_blocks || threadIdx.x >= Shape::kBlockRows ||
      p.prefetch_bytes == 0) {
    return;
  }
  const int n = WeightRow<Shape>(p, static_cast<int>(threadIdx.x));
  if (n < 0) return;
  const char* row = static_cast<const char*>(p.weight) + int64_t{n} * p.inner * element_bytes;
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(row), "r"(p.prefetch_bytes)
               : "memory");
#endif
}

// Lane's K offset of piece `piece` of turn `turn`.
__device__ __forceinline__ int DepthOf(int turn, int piece) {
  const int warp = threadIdx.x / kWarpThreads;
  return ((turn * kWarps + warp) * kPieces + piece) * 32 + threadIdx.x % 4 * 8;
}

__device__ __forceinline__ uint4 LoadStreaming(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

template <typename T, typename Shape>
__device__ __forceinline__ void LoadWeights(typename Shape::Weights& w, const SkinnyParams& p,
                                            int first_turn) {
  const int g = threadIdx.x % kWarpThreads / 4;
#pragma unroll
  for (int i = 0; i < Shape::kFlight; ++i) {
    const int k = DepthOf(first_turn + i / kPieces, i % kPieces);
#pragma unroll
    for (int r = 0; r < Shape::kRowTiles; ++r) {
      const int n = WeightRow<Shape>(p, r * 8 + g);
      w[i][r] = make_uint4(0, 0, 0, 0);
      if (n >= 0 && k < p.inner) {
        w[i][r] = LoadStreaming(static_cast<const T*>(p.weight) + int64_t{n} * p.inner + k);
      }
    }
  }
}

// kHalves: groups of eight rows of a.
template <typename T, typename Shape, int kHalves>
__device__ __forceinline__ void Multiply(float (&sums)[Shape::kRowTiles][(kHalves + 1) / 2][4],
                                         const typename Shape::Weights& w, const SkinnyParams& p,
                                         int first_turn) {
  const int g = threadIdx.x % kWarpThreads / 4;
  constexpr int kRowGroups = (kHalves + 1) / 2;
  uint4 a[Shape::kFlight][2 * kRowGroups];
#pragma unroll
  for (int i = 0; i < Shape::kFlight; ++i) {
    const int k = DepthOf(first_turn + i / kPieces, i % kPieces);
#pragma unroll
    for (int h = 0; h < 2 * kRowGroups; ++h) {
      const int m = h * 8 + g;
      a[i][h] = make_uint4(0, 0, 0, 0);
      if (h < kHalves && m < p.rows && k < p.inner) {
        a[i][h] = *reinterpret_cast<const uint4*>(static_cast<const T*>(p.a) + m * p.a_stride + k);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < Shape::kFlight; ++i) {
#pragma unroll
    for (int m = 0; m < kRowGroups; ++m) {
      const uint4 low = a[i][2 * m], high = a[i][2 * m + 1];
      const uint32_t first[4] = {low.x, high.x, low.y, high.y};
      const uint32_t second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
      for (int r = 0; r < Shape::kRowTiles; ++r) {
        Mma(sums[r][m], first, w[i][r].x, w[i][r].y, T{});
        Mma(sums[r][m], second, w[i][r].z, w[i][r].w, T{});
      }
    }
  }
}

// Entry `entry` of the block's sums, over the warps in their order.
template <int kSums>
__device__ __forceinline__ float SumOfWarps(const float (&space)[kWarps][kSums], int entry) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += space[i][entry];
  return sum;
}

// The bound of two blocks per multiprocessor gives the compiler the registers that it needs to keep
// both sets of weights in flight; without it, it saves registers and waits for each load.
template <typename T, typename Out, typename Shape, int kHalves>
__global__ void __launch_bounds__(kThreads, 2)
    SkinnyKernel(const __grid_constant__ SkinnyParams p) {
  constexpr int kRowGroups = (kHalves + 1) / 2;
  constexpr int kSums = Shape::kRowTiles * kRowGroups * 4 * kWarpThreads;  // of one warp
  __shared__ float space[kWarps][kSums];
  const int turns = (p.inner + kWarps * kWarpDepth - 1) / (kWarps * kWarpDepth);
  ReleaseSuccessor();
  typename Shape::Weights w, next;
  LoadWeights<T, Shape>(w, p, 0);
  PrefetchRows<Shape>(p, sizeof(T));
  AwaitPredecessor();
  float sums[Shape::kRowTiles][kRowGroups][4] = {};
  for (int turn = 0; turn < turns; turn += Shape::kTurns) {
    LoadWeights<T, Shape>(next, p, turn + Shape::kTurns);  // past the end: zeros
    Multiply<T, Shape, kHalves>(sums, w, p, turn);
#pragma unroll
    for (int i = 0; i < Shape::kFlight; ++i) {
#pragma unroll
      for (int r = 0; r < Shape::kRowTiles; ++r) w[i][r] = next[i][r];
    }
  }
  const int warp = threadIdx.x / kWarpThreads;
  const int lane = threadIdx.x % kWarpThreads;
#pragma unroll
  for (int r = 0; r < Shape::kRowTiles; ++r) {
#pragma unroll
    for (int m = 0; m < kRowGroups; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // [m, n]: rows of the fragment are rows of a, columns are weight rows.
        const int row = m * 16 + i / 2 * 8 + lane / 4;
        const int column = r * 8 + 2 * (lane % 4) + i % 2;
        space[warp][row * Shape::kBlockRows + column] = sums[r][m][i];
      }
    }
  }
  __syncthreads();
  constexpr int kOuts = kRowGroups * 16 * Shape::kOutColumns;
  for (int entry = threadIdx.x; entry < kOuts; entry += kThreads) {
    const int m = entry / Shape::kOutColumns;
    const int column = entry % Shape::kOutColumns;
    const int n = static_cast<int>(blockIdx.x) * Shape::kOutColumns + column;
    if (m >= p.rows || n >= p.columns) continue;
    const int from = m * Shape::kBlockRows + column;
    Out value = FromFloat<Out>(SumOfWarps(space, from));
    if constexpr (Shape::kGated) {
      value = SiluTimes(value, FromFloat<Out>(SumOfWarps(space, from + 8)));
    }
    static_cast<Out*>(p.out)[int64_t{m} * p.out_stride + n] = value;
  }
}

template <typename T, typename Out, typename Shape, int kHalves>
void LaunchSkinny(SkinnyParams p, const Stream& stream) {
  auto* kernel = SkinnyKernel<T, Out, Shape, kHalves>;
  int per_multiprocessor = 0;
  CheckCuda(
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, kThreads, 0));
  const int64_t blocks = CeilDiv(p.columns, Shape::kOutColumns);
  const int64_t resident =
      int64_t{per_multiprocessor} * DeviceAttribute(cudaDevAttrMultiProcessorCount);
  p.prefetch_blocks = static_cast<int>(std::min(blocks, resident));
  const int64_t row_bytes = kPrefetchBytesMax / (p.prefetch_blocks * Shape::kBlockRows) / 128 * 128;
  p.prefetch_bytes = static_cast<uint32_t>(
      std::min(row_bytes, int64_t{p.inner} * static_cast<int64_t>(sizeof(T))));
  Launch(kernel, Grid(static_cast<unsigned>(blocks), kThreads), stream, p);
}

SkinnyParams MakeParams(const TensorView& out, const ConstTensorView& a,
                        const ConstTensorView& weight) {
  CHECK_LE(a.shape[0], kSkinnyRowsMax);
  return {a.data,
          weight.data,
          out.data,
          a.row_stride,
          out.row_stride,
          static_cast<int>(a.shape[0]),
          static_cast<int>(out.shape[1]),
          static_cast<int>(a.shape[1]),
          0,
          0};
}

template <typename T, typename Out, typename Shape>
void LaunchByRows(const SkinnyParams& p, const Stream& stream) {
  p.rows <= 8 ? LaunchSkinny<T, Out, Shape, 1>(p, stream)
              : LaunchSkinny<T, Out, Shape, 2>(p, stream);
}

}  // namespace

bool FitsSkinnyMatMul(const ConstTensorView& a, const ConstTensorView& weight) {
  return a.dtype != DType::kF32 && a.shape[0] <= kSkinnyRowsMax && a.shape[1] % 8 == 0 &&
         a.row_stride % 8 == 0 && Aligned16(a.data) && Aligned16(weight.data);
}

void SkinnyMatMul(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                  const Stream& stream) {
  const SkinnyParams p = MakeParams(out, a, weight);
  DispatchFloat(a.dtype, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      const int64_t slots = 2 * DeviceAttribute(cudaDevAttrMultiProcessorCount);
      const bool three = CeilDiv(p.columns, TwoTiles::kBlockRows) > slots &&
                         CeilDiv(p.columns, ThreeTiles::kBlockRows) <= slots;
      const auto run = [&]<typename Out>(Out) {
        three ? LaunchByRows<T, Out, ThreeTiles>(p, stream)
              : LaunchByRows<T, Out, TwoTiles>(p, stream);
      };
      out.dtype == DType::kF32 ? run(float{}) : run(T{});
    }
  });
}

void SkinnyMatMulSiluMul(const TensorView& out, const ConstTensorView& a,
                         const ConstTensorView& weight, const Stream& stream) {
  const SkinnyParams p = MakeParams(out, a, weight);
  DispatchFloat(a.dtype, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) LaunchByRows<T, T, GateAndUp>(p, stream);
  });
}

}  // namespace tamis::cuda
