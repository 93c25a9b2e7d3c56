// SPDX-License-Identifier: Apache-2.0
// The two sides of a block of FewRowsMatMul: the thread that has the copy engine fill a ring of
// stages in shared memory, and the warpgroup that multiplies them.
#pragma once

#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/warpgroup.cuh"

namespace tamis::cuda::few_rows {

constexpr int kProducerWarp = kWarpgroupThreads / kWarpThreads;  // behind the warpgroup
constexpr int kThreads = kWarpgroupThreads + kWarpThreads;
constexpr int kTileRows = 64;  // of the weight, a block's
constexpr int kProductDepth = 16;
constexpr int kSharesMax = 4;

struct FewRowsParams {
  CUtensorMap weight;  // [N, K], boxes of kTileRows x 64
  CUtensorMap a;       // [M, K], boxes of Shape::kRows x 64
  void* out;           // [M, N], rows out_stride elements apart
  int64_t out_stride;
  int rows, columns;
  int panels;   // of 64 elements of K
  int shares;   // blocks of a cluster that share out a tile's panels: 1, 2 or 4
  int stagger;  // panels that a tile begins further on than the tile before
};

// kRows: those of a, rounded up.
template <int kRows_, int kStages_>
struct FewRowsShape {
  static constexpr int kRows = kRows_;
  static constexpr int kStages = kStages_;
  static constexpr int kQuads = kRows / 8;  // of a thread's sums: 8 rows of a, its 2 columns
  static constexpr uint32_t kWeightBytes = kTileRows * kPanelRowBytes;
  static constexpr uint32_t kStageBytes = kWeightBytes + kRows * kPanelRowBytes;
  static constexpr uint32_t kReceivedBytes = kQuads * kWarpgroupThreads * 16;
  static constexpr uint32_t kTiles = 1024;  // where the ring begins
  static constexpr uint32_t kReceived = kTiles + kStages * kStageBytes;
  // What a block asks for; a block that shares its tile with nobody receives nothing.
  static constexpr uint32_t Bytes(bool shared_out) {
    return kReceived + (shared_out ? kReceivedBytes : 0);
  }
};

template <typename Shape>
struct SharedLayout {
  uint32_t base;  // a multiple of 1024
  __device__ uint32_t Full(int stage) const { return base + 16 * stage; }
  __device__ uint32_t Free(int stage) const { return Full(stage) + 8; }
  __device__ uint32_t AllReceived() const { return Full(Shape::kStages); }
  __device__ uint32_t Weights(int stage) const {
    return base + Shape::kTiles + stage * Shape::kStageBytes;
  }
  __device__ uint32_t Activations(int stage) const { return Weights(stage) + Shape::kWeightBytes; }
  // This thread's part of what rank `rank` sends for a quad.
  __device__ uint32_t Received(int rank, int shares, int quad) const {
    const int place = rank * Shape::kQuads / shares + quad / shares;
    return base + Shape::kReceived + (place * kWarpgroupThreads + threadIdx.x) * 16;
  }
};

// A block's panels of K, from one in the middle on and around.
struct Range {
  int first, count, begin;
  __device__ int Panel(int i) const {
    const int j = begin + i;
    return first + (j < count ? j : j - count);
  }
};

// Which stage of the ring, and the parity of its use.
template <typename Shape>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void Next() {
    if (++stage == Shape::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// One thread of the producer warp.
template <typename Shape>
struct Producer {
  const FewRowsParams& p;
  const SharedLayout<Shape>& shared;
  const Range& range;
  int weight_row;
  // Weights are read once, activations by every block.
  uint64_t once = EvictFirst();
  uint64_t often = EvictLast();

  __device__ void FetchWeights(int stage, int i) const {
    ArriveExpecting(shared.Full(stage), Shape::kStageBytes);
    FetchBox(shared.Weights(stage), &p.weight, range.Panel(i) * kPanelColumns, weight_row,
             shared.Full(stage), once);
  }
  __device__ void FetchActivations(int stage, int i) const {
    FetchBox(shared.Activations(stage), &p.a, range.Panel(i) * kPanelColumns, 0, shared.Full(stage),
             often);
  }

  __device__ void InitBarriers() const {
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      InitBarrier(shared.Full(stage), 1);
      InitBarrier(shared.Free(stage), kProducerWarp);  // one arrival per warp
    }
    InitBarrier(shared.AllReceived(), 1);
    PublishBarriers();
    if (p.shares > 1) {
      ArriveExpecting(shared.AllReceived(), Shape::kReceivedBytes / p.shares * (p.shares - 1));
    }
  }
  // What needs no predecessor.
  __device__ void FillWithWeights() const {
    const int stages = min(Shape::kStages, range.count);
    for (int i = 0; i < stages; ++i) FetchWeights(i, i);
    PrefetchMap(&p.a);
  }
  __device__ void Run() const {
    const int stages = min(Shape::kStages, range.count);
    for (int i = 0; i < stages; ++i) FetchActivations(i, i);
    Turn<Shape> turn;
    for (int i = stages; i < range.count; ++i) {
      AwaitPhase(shared.Free(turn.stage), turn.parity);
      FetchWeights(turn.stage, i);
      FetchActivations(turn.stage, i);
      turn.Next();
    }
  }
};

// The warpgroup. A thread's sums are fragments C of mma.cuh, whose rows are weight rows: quad q has
// rows 8q.. of a.
template <typename T, typename Shape>
struct Consumer {
  float sums[Shape::kRows / 2];

  // Tensor cores truncate what they add; so they add up one panel, and panels are added rounded.
  __device__ void Run(const SharedLayout<Shape>& shared, const Range& range) {
#pragma unroll
    for (int i = 0; i < Shape::kRows / 2; ++i) sums[i] = 0;
    Turn<Shape> turn;
    for (int i = 0; i < range.count; ++i) {
      AwaitPhase(shared.Full(turn.stage), turn.parity);
      const uint64_t weights = TileDescriptor(shared.Weights(turn.stage));
      const uint64_t activations = TileDescriptor(shared.Activations(turn.stage));
      float of_panel[Shape::kRows / 2];
      BeginProducts();
#pragma unroll
      for (int step = 0; step < kPanelColumns / kProductDepth; ++step) {
        const uint32_t in_panel = step * kProductDepth * 2;
        ProductOfShared(of_panel, Advance(weights, in_panel), Advance(activations, in_panel),
                        step != 0, T{});
      }
      CommitProducts();
      AwaitProducts<0>();
      Pin(of_panel);
      if (threadIdx.x % kWarpThreads == 0) Arrive(shared.Free(turn.stage));
      turn.Next();
#pragma unroll
      for (int j = 0; j < Shape::kRows / 2; ++j) sums[j] += of_panel[j];
    }
  }

  // Of the blocks that share a tile, each gets the sums of every shares-th quad, and adds them in
  // the order of ranks.
  __device__ void Exchange(const SharedLayout<Shape>& shared, int share, int shares) {
    AwaitCluster();  // all have their barriers
#pragma unroll
    for (int q = 0; q < Shape::kQuads; ++q) {
      const int owner = q % shares;
      if (owner == share) continue;
      Send(AddressOfRank(shared.Received(share, shares, q), owner), sums + 4 * q,
           AddressOfRank(shared.AllReceived(), owner));
    }
    AwaitPhaseOfCluster(shared.AllReceived(), 0);
#pragma unroll
    for (int q = 0; q < Shape::kQuads; ++q) {
      if (q % shares != share) continue;
      const float own[4] = {sums[4 * q], sums[4 * q + 1], sums[4 * q + 2], sums[4 * q + 3]};
#pragma unroll
      for (int rank = 0; rank < kSharesMax; ++rank) {
        if (rank >= shares) break;
        float part[4] = {own[0], own[1], own[2], own[3]};
        if (rank != share) Receive(part, shared.Received(rank, shares, q));
#pragma unroll
        for (int i = 0; i < 4; ++i)
          sums[4 * q + i] = rank == 0 ? part[i] : sums[4 * q + i] + part[i];
      }
    }
  }
  __device__ static void Receive(float (&part)[4], uint32_t address) {
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(part[0]), "=f"(part[1]), "=f"(part[2]), "=f"(part[3])
                 : "r"(address)
                 : "memory");
  }

  template <typename Out>
  __device__ void Store(const FewRowsParams& p, int tile, int share) const {
    const int lane = threadIdx.x % kWarpThreads;
    const int first =
        tile * kTileRows + static_cast<int>(threadIdx.x) / kWarpThreads * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < Shape::kRows / 2; ++i) {
      const int column = first + i / 2 % 2 * 8;
      const int row = i / 4 * 8 + lane % 4 * 2 + i % 2;
      if (i / 4 % p.shares == share && row < p.rows && column < p.columns) {
        static_cast<Out*>(p.out)[row * p.out_stride + column] = FromFloat<Out>(sums[i]);
      }
    }
  }
};

}  // namespace tamis::cuda::few_rows
