// SPDX-License-Identifier: Apache-2.0
// Products of 17 to 64 rows on Hopper, bound by reading the weights once: N x K elements. The roles
// of rows and columns are swapped: a block takes 64 weight rows as the rows of warpgroup products,
// and all rows of a as their columns. The copy engine brings both, 64 elements of K at a time; the
// first weights are asked for before the predecessor has finished, since no kernel writes weights.
//
// Short weights make fewer tiles than there are multiprocessors. The blocks of a cluster then share
// out K, and add their sums up in the order of their ranks through each other's shared memory.
#include <algorithm>

#include "kernels/cuda/few_rows.cuh"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/mma.cuh"

namespace tamis::cuda {
namespace {

using namespace few_rows;  // NOLINT: the other half of this kernel

template <typename T, typename Out, typename Shape>
__global__ void __launch_bounds__(kThreads) FewRowsKernel(const __grid_constant__ FewRowsParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) char memory[];
  const SharedLayout<Shape> shared = {SharedAddress(memory)};
  const int tile = static_cast<int>(blockIdx.x) / p.shares;
  const int share = static_cast<int>(blockIdx.x) % p.shares;  // and the rank in the cluster
  Range range;
  range.first = p.panels * share / p.shares;
  range.count = p.panels * (share + 1) / p.shares - range.first;
  range.begin = tile * p.stagger % range.count;
  const Producer<Shape> producer = {p, shared, range, tile * kTileRows};
  // The same for all lanes, and seen to be so by the compiler.
  const int warp = __shfl_sync(kFullMask, static_cast<int>(threadIdx.x / kWarpThreads), 0);
  if (warp == kProducerWarp) {
    if (ElectLane()) {
      producer.InitBarriers();
      producer.FillWithWeights();
    }
    __syncwarp();
  }
  __syncthreads();
  if (p.shares > 1) ArriveAtCluster();
  ReleaseSuccessor();
  AwaitPredecessor();
  if (warp == kProducerWarp) {
    if (ElectLane()) producer.Run();
    __syncwarp();
    if (p.shares > 1) AwaitCluster();
    return;
  }
  Consumer<T, Shape> consumer;
  consumer.Run(shared, range);
  if (p.shares > 1) consumer.Exchange(shared, share, p.shares);
  consumer.template Store<Out>(p, tile, share);
#endif
}

template <typename T, typename Out, typename Shape>
void LaunchFewRows(const FewRowsParams& p, const Stream& stream) {
  const int64_t tiles = CeilDiv(p.columns, kTileRows);
  Grid grid(static_cast<unsigned>(tiles * p.shares), kThreads, Shape::Bytes(p.shares > 1));
  grid.cluster = static_cast<unsigned>(p.shares);
  Launch(FewRowsKernel<T, Out, Shape>, grid, stream, p);
}

// In several waves, blocks that start together had better not read the same activations.
constexpr int kStagger = 5;

// How tiles are laid out over the multiprocessors; from the product's shape and the device. `deep`:
// all blocks run at once, one per multiprocessor, with a ring of 120 KB. Else there are several
// waves of blocks, and two per multiprocessor, of 60 KB, so that one reads while another begins or
// ends.
struct Division {
  bool deep;
  int shares;
};

Division DivisionOf(int64_t columns, int64_t panels) {
  const int64_t tiles = CeilDiv(columns, kTileRows);
  const int64_t places = DeviceAttribute(cudaDevAttrMultiProcessorCount);
  if (tiles > places) return {false, 1};
  Division division = {true, 1};
  while (division.shares < kSharesMax && tiles * 2 * division.shares <= places &&
         2 * division.shares <= panels) {
    division.shares *= 2;
  }
  return division;
}

}  // namespace

bool FitsFewRowsMatMul(const ConstTensorView& a, const ConstTensorView& weight) {
#if defined(TAMIS_SM90A)
  return a.dtype != DType::kF32 && a.shape[0] <= kFewRowsMax && a.shape[1] % 8 == 0 &&
         a.row_stride % 8 == 0 && weight.row_stride % 8 == 0 && Aligned16(a.data) &&
         Aligned16(weight.data) && DeviceAttribute(cudaDevAttrComputeCapabilityMajor) == 9;
#else
  static_cast<void>(a);
  static_cast<void>(weight);
  return false;
#endif
}

void FewRowsMatMul(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                   const Stream& stream) {
  CHECK_LE(a.shape[0], kFewRowsMax);
  const int64_t rows = a.shape[0], columns = weight.shape[0], inner = a.shape[1];
  const int64_t panels = CeilDiv(inner, kPanelColumns);
  const Division division = DivisionOf(columns, panels);
  FewRowsParams p;
  p.out = out.data;
  p.out_stride = out.row_stride;
  p.rows = static_cast<int>(rows);
  p.columns = static_cast<int>(columns);
  p.panels = static_cast<int>(panels);
  p.shares = division.shares;
  p.stagger = division.deep ? 0 : kStagger;
  p.weight = BoxesOf(weight.data, weight.dtype, columns, inner, weight.row_stride, kTileRows);
  const auto run = [&]<typename T, typename Shape>(T, Shape) {
    p.a = BoxesOf(a.data, a.dtype, rows, inner, a.row_stride, Shape::kRows);
    out.dtype == DType::kF32 ? LaunchFewRows<T, float, Shape>(p, stream)
                             : LaunchFewRows<T, T, Shape>(p, stream);
  };
  DispatchFloat(a.dtype, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      if (rows <= 32) {
        division.deep ? run(tag, FewRowsShape<32, 10>{}) : run(tag, FewRowsShape<32, 5>{});
      } else {
        division.deep ? run(tag, FewRowsShape<64, 7>{}) : run(tag, FewRowsShape<64, 4>{});
      }
    }
  });
}

}  // namespace tamis::cuda
