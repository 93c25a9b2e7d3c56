// SPDX-License-Identifier: Apache-2.0
// The exchange of selection lists and their merge, in one kernel, one block per row: every rank
// sends its list, one packet per entry; a block then merges all lists by position (each entry
// finds its place by bisection of the others' lists, so that equal positions come to stand side by
// side), keeps the best of equal positions, narrows the k-th best down by histograms over the bits
// in which entries differ, and writes what is above it in order.
#include "kernels/cuda/radix_select.cuh"
#include "kernels/cuda/reduce.cuh"
#include "parallel/ipc_cutoff.cuh"
#include "parallel/ipc_kernels.h"
#include "parallel/ipc_packets.cuh"

namespace tamis::cuda {
namespace {

constexpr int kThreads = kCutoffThreads;
constexpr int kWarps = kCutoffWarps;
constexpr int kEachMax = 16;  // entries of a thread

struct ExchangeParams {
  int32_t* positions;              // [rows, k_max]
  int32_t* count;                  // [S]
  const int32_t* local_positions;  // [rows, k_max]
  const float* local_scores;       // [rows, k_max]
  const int32_t* begin;            // [S]
  const int32_t* end;              // [S]
  const int32_t* k;                // [S]
  int rows, selection_heads, k_max, peers_begin, peers_end;
};

template <bool kAtToo>
__device__ __forceinline__ bool Below(uint32_t entry, uint32_t bound) {
  if constexpr (kAtToo) return entry <= bound;
  return entry < bound;
}

// place[j] += entries of an ascending list of kLength (a power of two) below x[j], or at it too.
// By index: with pointers that advance, what nvcc 13.0 makes of kCount 2 puts equal positions of
// two lists in one place.
template <bool kAtToo, int kLength, int kCount>
__device__ __forceinline__ void AddBelow(const uint32_t* list, const uint32_t (&x)[kCount],
                                         int (&place)[kCount]) {
  int at[kCount] = {};
#pragma unroll
  for (int step = kLength / 2; step > 0; step /= 2) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int next = at[j] + step;
      at[j] = Below<kAtToo>(list[next - 1], x[j]) ? next : at[j];
    }
  }
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    place[j] += at[j] + (Below<kAtToo>(list[at[j]], x[j]) ? 1 : 0);
  }
}

struct Space : CutoffSpace {
  uint32_t chosen[kEachMax * kWarps];  // of each warp's entries
};

// Entry e of a thread while lists are apart: list e / kPerList, place e % kPerList * kThreads +
// threadIdx.x, the rest of a list being filled up to kThreads x kPerList.
template <int kRanks, int kPerList>
struct RowMerge {
  static constexpr int kEach = kRanks * kPerList;
  static constexpr int kLength = kThreads * kPerList;

  const Round& round;
  const ExchangeParams& p;
  Space& space;
  uint64_t* merged;     // [kEach x kThreads], zeros before and after
  uint32_t* positions;  // [kRanks, kLength]; where a list has nothing, above all positions
  uint64_t mine[kEach];

  // All lists, into `mine` and `positions`.
  __device__ void Receive(int64_t row) {
    Packet packets[kEach][1];
    const Packet* slots = round.Slot(round.rank(), 0) + row * p.k_max;
    const size_t stride = round.Slot(round.rank(), 1) - round.Slot(round.rank(), 0);
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int w = e / kPerList, i = e % kPerList * kThreads + static_cast<int>(threadIdx.x);
      if (w >= round.size() || i >= p.k_max) continue;
      if (w == round.rank()) {
        packets[e][0].first = static_cast<uint32_t>(p.local_positions[row * p.k_max + i]);
        packets[e][0].second = __float_as_uint(p.local_scores[row * p.k_max + i]);
      } else {
        packets[e][0] = LoadPacket(slots + w * stride + i);
      }
    }
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int w = e / kPerList, i = e % kPerList * kThreads + static_cast<int>(threadIdx.x);
      mine[e] = 0;
      if (w >= round.size()) continue;
      if (i < p.k_max) {
        if (w != round.rank()) round.Await(packets[e], slots + w * stride + i, w);
        const auto position = static_cast<int32_t>(packets[e][0].first);
        const float score = __uint_as_float(static_cast<uint32_t>(packets[e][0].second));
        const bool counts = position >= 0 && w >= p.peers_begin && w < p.peers_end;
        if (counts) mine[e] = PackEntry(score, position);
      }
      positions[w * kLength + i] = ~static_cast<uint32_t>(mine[e]);
    }
  }

  // From `mine` to `merged`, in the order of (position, list).
  __device__ void Merge() const {
#pragma unroll
    for (int w = 0; w < kRanks; ++w) {
      if (w >= round.size()) break;
      uint32_t x[kPerList];
      int place[kPerList];
#pragma unroll
      for (int j = 0; j < kPerList; ++j) {
        x[j] = ~static_cast<uint32_t>(mine[w * kPerList + j]);
        place[j] = j * kThreads + static_cast<int>(threadIdx.x);
      }
#pragma unroll
      for (int other = 0; other < kRanks; ++other) {
        if (other >= round.size()) break;
        const uint32_t* list = positions + other * kLength;
        if (other < w) AddBelow<true, kLength>(list, x, place);
        if (other > w) AddBelow<false, kLength>(list, x, place);
      }
#pragma unroll
      for (int j = 0; j < kPerList; ++j) merged[place[j]] = mine[w * kPerList + j];
    }
  }

  // mine[e] = merged entry e x kThreads + threadIdx.x if it is the best of its position, else 0.
  __device__ void TakeBest() {
    const auto same = [](uint64_t a, uint64_t b) {
      return static_cast<uint32_t>(a) == static_cast<uint32_t>(b);
    };
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      mine[e] = 0;
      if (e / kPerList >= round.size()) continue;
      const uint64_t* at = merged + e * kThreads + threadIdx.x;
      const uint64_t entry = *at;
      bool best = entry != 0;
      for (const uint64_t* q = at - 1; best && same(*q, entry); --q) best = *q < entry;
      for (const uint64_t* q = at + 1; best && same(*q, entry); ++q) best = *q <= entry;
      if (best) mine[e] = entry;
    }
  }

  // The entries from `cutoff` up, in order of position.
  __device__ void Write(uint64_t cutoff, int32_t* out) const {
    const int lane = threadIdx.x % kWarpThreads, warp = threadIdx.x / kWarpThreads;
    uint32_t chosen[kEach];
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      chosen[e] = __ballot_sync(kFullMask, mine[e] != 0 && mine[e] >= cutoff);
      if (lane == 0) space.chosen[e * kWarps + warp] = __popc(chosen[e]);
    }
    __syncthreads();
    uint32_t before = 0;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const uint32_t of_warp = space.chosen[e * kWarps + lane];
      const uint32_t lower = __reduce_add_sync(kFullMask, lane < warp ? of_warp : 0);
      const uint32_t below = __popc(chosen[e] & ((1u << lane) - 1));
      if ((chosen[e] >> lane & 1) != 0) out[before + lower + below] = PositionOf(mine[e]);
      before += __reduce_add_sync(kFullMask, of_warp);
    }
  }

  // Everything but the sending.
  __device__ void Run(int row) {
    const int s = row / p.selection_heads;
    const int k = min(p.k[s], max(0, p.end[s] - p.begin[s]));
    space.bins[threadIdx.x] = space.bins[kThreads + threadIdx.x] = 0;
    if (threadIdx.x == 0) merged[-1] = merged[round.size() * kLength] = 0;
    Receive(row);
    __syncthreads();
    Merge();
    __syncthreads();
    TakeBest();
    const uint64_t cutoff = k > 0 ? CutoffOf(space, mine, static_cast<uint32_t>(k)) : ~uint64_t{0};
    int32_t* out = p.positions + int64_t{row} * p.k_max;
    Write(cutoff, out);
    for (int i = k + static_cast<int>(threadIdx.x); i < p.k_max; i += kThreads) out[i] = -1;
    if (threadIdx.x == 0 && row % p.selection_heads == 0) p.count[s] = k;
  }
};

__device__ void SendRow(const Round& round, const ExchangeParams& p, int row) {
  for (int i = threadIdx.x; i < p.k_max; i += kThreads) {
    const int64_t at = int64_t{row} * p.k_max + i;
    const auto position = static_cast<uint32_t>(p.local_positions[at]);
    const uint32_t score = __float_as_uint(p.local_scores[at]);
    int to = round.rank();
    for (int step = 1; step < round.size(); ++step) {
      to = to + 1 < round.size() ? to + 1 : 0;
      StorePacket(round.Slot(to, round.rank()) + at, position, score, round.number());
    }
  }
}

template <int kRanks, int kPerList>
__global__ void __launch_bounds__(kThreads, 1)
    ExchangeTopKKernel(const __grid_constant__ ExchangeParams p,
                       const __grid_constant__ IpcView view) {
  using Row = RowMerge<kRanks, kPerList>;
  extern __shared__ uint64_t shared[];
  __shared__ Space space;
  ReleaseSuccessor();
  AwaitPredecessor();
  const Round round(view, IpcCall::kExchangeTopK);
  // All rows of this block leave before any is waited for.
  for (int row = blockIdx.x; row < p.rows; row += gridDim.x) SendRow(round, p, row);
  uint64_t* merged = shared + 1;
  auto* positions = reinterpret_cast<uint32_t*>(merged + round.size() * Row::kLength + 1);
  for (int row = blockIdx.x; row < p.rows; row += gridDim.x) {
    Row{round, p, space, merged, positions, {}}.Run(row);
    __syncthreads();
  }
  round.End();
}

// Calls run(kernel) with the one for lists of k_max over `ranks`.
template <typename Run>
void DispatchExchange(int64_t k_max, int ranks, Run&& run) {
  const bool two = k_max > kThreads, four = k_max > 2 * kThreads;
  if (ranks <= 2) {
    if (four) return run(ExchangeTopKKernel<2, 4>);
    return run(two ? ExchangeTopKKernel<2, 2> : ExchangeTopKKernel<2, 1>);
  }
  if (ranks <= 4) {
    if (four) return run(ExchangeTopKKernel<4, 4>);
    return run(two ? ExchangeTopKKernel<4, 2> : ExchangeTopKKernel<4, 1>);
  }
  run(two ? ExchangeTopKKernel<8, 2> : ExchangeTopKKernel<8, 1>);
}

size_t SharedBytes(int64_t k_max, int ranks) {
  const int64_t per_list = k_max > 2 * kThreads ? 4 : k_max > kThreads ? 2 : 1;
  const int64_t entries = ranks * per_list * kThreads;
  return static_cast<size_t>(entries) * (sizeof(uint64_t) + sizeof(uint32_t)) +
         2 * sizeof(uint64_t);
}

}  // namespace

int64_t IpcExchangeRowsMax(int64_t k_max, int ranks, const IpcLimits& limits) {
  const int64_t k_limit = kThreads * (ranks <= 4 ? 4 : 2);
  if (k_max > k_limit || k_max == 0) return 0;
  // An A100 has room for the lists of fewer ranks than an H100.
  const size_t bytes = SharedBytes(k_max, ranks) + sizeof(Space);
  if (bytes > static_cast<size_t>(limits.shared_bytes)) return 0;
  return static_cast<int64_t>(kIpcSlotBytes / sizeof(Packet)) / k_max;
}

void IpcExchangeTopK(const TopKExchange& lists, const CandidateView& candidates, Slice peers,
                     const IpcView& view, const Stream& stream) {
  ExchangeParams p = {};
  p.positions = lists.positions.As<int32_t>();
  p.count = lists.count.As<int32_t>();
  p.local_positions = lists.local_positions.As<int32_t>();
  p.local_scores = lists.local_scores.As<float>();
  p.begin = candidates.begin.As<int32_t>();
  p.end = candidates.end.As<int32_t>();
  p.k = candidates.k.As<int32_t>();
  p.selection_heads = static_cast<int>(lists.positions.shape[1]);
  p.rows = static_cast<int>(lists.positions.shape[0]) * p.selection_heads;
  p.k_max = static_cast<int>(lists.positions.shape[2]);
  p.peers_begin = static_cast<int>(peers.begin);
  p.peers_end = static_cast<int>(peers.begin + peers.count);
  DispatchExchange(p.k_max, view.size, [&](auto* kernel) {
    Launch(kernel,
           Grid(static_cast<unsigned>(std::min(p.rows, IpcBlocksMax())), kThreads,
                SharedBytes(p.k_max, view.size)),
           stream, p, view);
  });
}

void IpcLoadExchangeKernels(int size, const IpcLimits& limits) {
  for (const int64_t k_max : {1, 2, 4}) {
    DispatchExchange(k_max * kThreads, size, [&](auto* kernel) {
      // The default limit of 48 KiB counts static and dynamic shared memory together.
      const auto bytes = static_cast<int>(SharedBytes(k_max * kThreads, size));
      if (IpcExchangeRowsMax(k_max * kThreads, size, limits) == 0) return;
      CheckCuda(
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
      LoadKernel(kernel);
    });
  }
}

}  // namespace tamis::cuda
