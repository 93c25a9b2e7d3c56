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
#include "kernels/cuda/product_finish.cuh"
#include "kernels/cuda/reduce.cuh"

namespace tamis::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kPieces = 2;                // of 32 elements of K that a warp takes at once
constexpr int kWarpDepth = 32 * kPieces;  // K elements of a warp's turn

// What a block takes: tiles of 8 weight rows, and how many turns it keeps in flight. Its columns
// are those of the product, or pairs of them: then the first half of its rows are the pairs' first
// ones and the other half their partners.
template <int kRowTiles_, int kTurns_, bool kPaired_>
struct BlockShape {
  static constexpr int kRowTiles = kRowTiles_;
  static constexpr int kBlockRows = 8 * kRowTiles;
  static constexpr bool kPaired = kPaired_;
  static constexpr int kColumns = kPaired ? kBlockRows / 2 : kBlockRows;
  static constexpr int kTurns = kTurns_;
  static constexpr int kFlight = kTurns * kPieces;
  using Weights = uint4[kFlight][kRowTiles];
};

// Tiles of the wider shape, with one turn in flight. More would fill fewer multiprocessors.
constexpr int kWideTiles = 3;

// Of the weights of all blocks that start at once, into the L2 before the predecessor is done.
constexpr int64_t kPrefetchBytesMax = int64_t{8} << 20;

struct SkinnyParams {
  const void* a;       // [M, K], rows a_stride elements apart
  const void* weight;  // [N, K]
  int64_t a_stride;
  int rows, columns, inner;  // M; N, or N / 2 pairs; K
  PairRows pairs;
  int prefetch_blocks;      // those that start at once
  uint32_t prefetch_bytes;  // of each of their rows
};

// The weight row that is row `row` of this block's tiles; -1 past the end.
template <typename Shape>
__device__ __forceinline__ int WeightRow(const SkinnyParams& p, int row) {
  const bool partner = row >= Shape::kColumns;  // never where there are no pairs
  const int in_block = partner ? row - Shape::kColumns : row;
  const int column = static_cast<int>(blockIdx.x) * Shape::kColumns + in_block;
  if (column >= p.columns) return -1;
  if constexpr (!Shape::kPaired) return column;
  return p.pairs.FirstRow(column) + (partner ? p.pairs.half : 0);
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

// rows: where this lane's weight rows begin, one of each tile; null past the end.
template <typename T, typename Shape>
__device__ __forceinline__ void LoadWeights(typename Shape::Weights& w,
                                            const T* const (&rows)[Shape::kRowTiles], int inner,
                                            int first_turn) {
#pragma unroll
  for (int i = 0; i < Shape::kFlight; ++i) {
    const int k = DepthOf(first_turn + i / kPieces, i % kPieces);
#pragma unroll
    for (int r = 0; r < Shape::kRowTiles; ++r) {
      w[i][r] = make_uint4(0, 0, 0, 0);
      if (rows[r] != nullptr && k < inner) w[i][r] = LoadStreaming(rows[r] + k);
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

// A warp's sums to its part of shared memory, as [m, n]: rows of the fragments are rows of a,
// columns are the block's weight rows.
template <typename Shape, int kRowGroups>
__device__ __forceinline__ void ShareSums(float* space,
                                          const float (&sums)[Shape::kRowTiles][kRowGroups][4]) {
  const int lane = threadIdx.x % kWarpThreads;
#pragma unroll
  for (int r = 0; r < Shape::kRowTiles; ++r) {
#pragma unroll
    for (int m = 0; m < kRowGroups; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = m * 16 + i / 2 * 8 + lane / 4;
        const int column = r * 8 + 2 * (lane % 4) + i % 2;
        space[row * Shape::kBlockRows + column] = sums[r][m][i];
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
template <typename T, typename Finish, typename Shape, int kHalves>
__global__ void __launch_bounds__(kThreads, 2)
    SkinnyKernel(const __grid_constant__ SkinnyParams p, const __grid_constant__ Finish finish) {
  using Out = typename Finish::Out;
  constexpr int kRowGroups = (kHalves + 1) / 2;
  constexpr int kSums = Shape::kRowTiles * kRowGroups * 4 * kWarpThreads;  // of one warp
  constexpr int kOuts = kRowGroups * 16 * Shape::kColumns;
  static_assert(kOuts <= kThreads || !Shape::kPaired, "what is loaded early is for one entry");
  __shared__ float space[kWarps][kSums];
  const int turns = (p.inner + kWarps * kWarpDepth - 1) / (kWarps * kWarpDepth);
  const int first_column = static_cast<int>(blockIdx.x) * Shape::kColumns;
  ReleaseSuccessor();
  const T* rows[Shape::kRowTiles];
#pragma unroll
  for (int r = 0; r < Shape::kRowTiles; ++r) {
    const int n = WeightRow<Shape>(p, r * 8 + static_cast<int>(threadIdx.x) % kWarpThreads / 4);
    rows[r] = n < 0 ? nullptr : static_cast<const T*>(p.weight) + int64_t{n} * p.inner;
  }
  typename Shape::Weights w, next;
  LoadWeights<T, Shape>(w, rows, p.inner, 0);
  PrefetchRows<Shape>(p, sizeof(T));
  AwaitPredecessor();
  const int own_row = threadIdx.x / Shape::kColumns;
  const int own_column = first_column + threadIdx.x % Shape::kColumns;
  typename Finish::Early early = {};
  if (own_row < p.rows && own_column < p.columns) early = finish.Load(own_row, own_column);
  float sums[Shape::kRowTiles][kRowGroups][4] = {};
  for (int turn = 0; turn < turns; turn += Shape::kTurns) {
    LoadWeights<T, Shape>(next, rows, p.inner, turn + Shape::kTurns);  // past the end: zeros
    Multiply<T, Shape, kHalves>(sums, w, p, turn);
#pragma unroll
    for (int i = 0; i < Shape::kFlight; ++i) {
#pragma unroll
      for (int r = 0; r < Shape::kRowTiles; ++r) w[i][r] = next[i][r];
    }
  }
  ShareSums<Shape, kRowGroups>(space[threadIdx.x / kWarpThreads], sums);
  __syncthreads();
  for (int entry = threadIdx.x; entry < kOuts; entry += kThreads) {
    const int row = entry / Shape::kColumns;
    const int column = first_column + entry % Shape::kColumns;
    if (row >= p.rows || column >= p.columns) continue;
    const int from = row * Shape::kBlockRows + entry % Shape::kColumns;
    const Out value = FromFloat<Out>(SumOfWarps(space, from));
    if constexpr (Shape::kPaired) {
      const Out partner = FromFloat<Out>(SumOfWarps(space, from + Shape::kColumns));
      finish(early, row, column, value, partner);
    } else {
      finish(early, row, column, value);
    }
  }
}

template <typename T, typename Finish, typename Shape, int kHalves>
void LaunchSkinny(SkinnyParams p, const Finish& finish, const Stream& stream) {
  auto* kernel = SkinnyKernel<T, Finish, Shape, kHalves>;
  int per_multiprocessor = 0;
  CheckCuda(
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, kThreads, 0));
  const int64_t blocks = CeilDiv(p.columns, Shape::kColumns);
  const int64_t resident =
      int64_t{per_multiprocessor} * DeviceAttribute(cudaDevAttrMultiProcessorCount);
  p.prefetch_blocks = static_cast<int>(std::min(blocks, resident));
  const int64_t row_bytes = kPrefetchBytesMax / (p.prefetch_blocks * Shape::kBlockRows) / 128 * 128;
  p.prefetch_bytes = static_cast<uint32_t>(
      std::min(row_bytes, int64_t{p.inner} * static_cast<int64_t>(sizeof(T))));
  Launch(kernel, Grid(static_cast<unsigned>(blocks), kThreads), stream, p, finish);
}

template <typename T, typename Shape, typename Finish>
void LaunchByRows(const SkinnyParams& p, const Finish& finish, const Stream& stream) {
  p.rows <= 8 ? LaunchSkinny<T, Finish, Shape, 1>(p, finish, stream)
              : LaunchSkinny<T, Finish, Shape, 2>(p, finish, stream);
}

// Two tiles to a block, or more where that makes one wave of blocks out of one and a half.
template <typename T, typename Finish>
void LaunchByColumns(const SkinnyParams& p, const Finish& finish, const Stream& stream) {
  using Narrow = BlockShape<2, 2, Finish::kPaired>;
  using Wide = BlockShape<kWideTiles, 1, Finish::kPaired>;
  const int64_t slots = 2 * DeviceAttribute(cudaDevAttrMultiProcessorCount);
  const bool wide =
      CeilDiv(p.columns, Narrow::kColumns) > slots && CeilDiv(p.columns, Wide::kColumns) <= slots;
  wide ? LaunchByRows<T, Wide>(p, finish, stream) : LaunchByRows<T, Narrow>(p, finish, stream);
}

// half: see PairRows; 0: no pairs.
SkinnyParams MakeParams(const ConstTensorView& a, const ConstTensorView& weight, int64_t half) {
  CHECK_LE(a.shape[0], kSkinnyRowsMax);
  SkinnyParams p = {};
  p.a = a.data;
  p.weight = weight.data;
  p.a_stride = a.row_stride;
  p.rows = static_cast<int>(a.shape[0]);
  p.columns = static_cast<int>(half > 0 ? weight.shape[0] / 2 : weight.shape[0]);
  p.inner = static_cast<int>(a.shape[1]);
  if (half > 0) p.pairs = PairRowsOf(half, p.columns);
  return p;
}

// Calls run(T{}) for the storage types that SkinnyMatMul takes.
template <typename Run>
void DispatchHalf(DType dtype, Run&& run) {
  DispatchFloat(dtype, [&](auto tag) {
    if constexpr (sizeof(tag) == 2) run(tag);
  });
}

}  // namespace

bool FitsSkinnyMatMul(const ConstTensorView& a, const ConstTensorView& weight) {
  return a.dtype != DType::kF32 && a.shape[0] <= kSkinnyRowsMax && a.shape[1] % 8 == 0 &&
         a.row_stride % 8 == 0 && Aligned16(a.data) && Aligned16(weight.data);
}

void SkinnyMatMul(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                  const Stream& stream) {
  const SkinnyParams p = MakeParams(a, weight, 0);
  DispatchHalf(a.dtype, [&]<typename T>(T) {
    const auto run = [&]<typename Out>(Out) {
      const StoreProduct<Out> finish = {static_cast<Out*>(out.data), out.row_stride};
      LaunchByColumns<T>(p, finish, stream);
    };
    out.dtype == DType::kF32 ? run(float{}) : run(T{});
  });
}

void SkinnyMatMulSiluMul(const TensorView& out, const ConstTensorView& a,
                         const ConstTensorView& weight, const Stream& stream) {
  const SkinnyParams p = MakeParams(a, weight, out.shape[1]);
  DispatchHalf(a.dtype, [&]<typename T>(T) {
    LaunchByColumns<T>(p, GateProduct<T>{static_cast<T*>(out.data), out.row_stride}, stream);
  });
}

void SkinnyMatMulRopeAndStoreKv(const TensorView& qkv, const ConstTensorView& a,
                                const ConstTensorView& weight, const KvPages& pages,
                                const RopeParams& rope, const Stream& stream) {
  const SkinnyParams p = MakeParams(a, weight, pages.head_dim / 2);
  DispatchHalf(a.dtype, [&]<typename T>(T) {
    const RotateProduct<T> finish = {static_cast<T*>(qkv.data), static_cast<T*>(pages.data),
                                     qkv.row_stride, p.pairs, rope};
    LaunchByColumns<T>(p, finish, stream);
  });
}

}  // namespace tamis::cuda
