// SPDX-License-Identifier: Apache-2.0
// Sample: blocks first summarise pieces of a row (best entry, maximum, sum of exponentials), then
// draw from each piece or list what may still be drawn, then one block per row finishes. The tokens
// that may be drawn are a prefix of the order, so each rule only moves a cutoff. Weights are summed
// as integers: the same bits on every rank.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/radix_select.cuh"
#include "kernels/cuda/sample.h"
#include "kernels/order_key.h"
#include "kernels/philox.h"

namespace tamis::cuda {
namespace {

constexpr int kPieceThreads = 256;
constexpr int kRowThreads = 1024;
constexpr float kMassUnit =
    1099511627776.0f;  // 2^40: a row's weights, at most 1 each, sum in 64 bits

struct SampleArguments {
  int32_t* tokens;      // [S]
  float* logprobs;      // [S]
  int32_t* top_tokens;  // [S, N]
  float* top_logprobs;  // [S, N]
  const float* logits;  // [S, V]
  const float* temperature;
  const int32_t* top_k;
  const float* top_p;
  const float* min_p;
  const uint64_t* seed;
  const int32_t* position;
  uint64_t* piece_best;            // [S, kSamplePieces]
  float2* piece_softmax;           // [S, kSamplePieces] (maximum, sum of exponentials over it)
  uint64_t* piece_drawn;           // [S, kSamplePieces] the best of a piece with noise
  unsigned long long* piece_mass;  // [S, kSamplePieces]
  uint64_t* list;                  // [S, kSampleListMax] entries that may be drawn
  int32_t* list_size;              // [S]; above kSampleListMax: the list is not complete
  int vocab, num_top;

  // Pieces are whole groups of four tokens, which share their random words.
  __device__ int PieceTokens() const {
    return ((vocab + kSamplePieces - 1) / kSamplePieces + 3) / 4 * 4;
  }
};

// A sum that is NaN, for a NaN logit, stays NaN.
__device__ __forceinline__ float2 MergeSoftmax(float2 a, float2 b) {
  const float max = fmaxf(a.x, b.x);
  if (max == -INFINITY) return make_float2(max, (a.y + b.y) * 0.0f);
  return make_float2(max, a.y * expf(a.x - max) + b.y * expf(b.x - max));
}

__device__ __forceinline__ float2 WarpMergeSoftmax(float2 value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float2 other = make_float2(__shfl_xor_sync(kFullMask, value.x, offset),
                                     __shfl_xor_sync(kFullMask, value.y, offset));
    value = MergeSoftmax(value, other);
  }
  return value;
}

// Block (piece, s).
__global__ void __launch_bounds__(kPieceThreads)
    SummariseKernel(const __grid_constant__ SampleArguments a) {
  __shared__ uint64_t best_space[kPieceThreads / kWarpThreads];
  __shared__ float2 softmax_space[kPieceThreads / kWarpThreads];
  ReleaseSuccessor();
  AwaitPredecessor();
  const float* row = a.logits + int64_t{blockIdx.y} * a.vocab;
  const int begin = static_cast<int>(blockIdx.x) * a.PieceTokens();
  const int end = min(begin + a.PieceTokens(), a.vocab);
  if (blockIdx.x + threadIdx.x == 0) a.list_size[blockIdx.y] = 0;
  uint64_t best = 0;
  float2 softmax = make_float2(-INFINITY, 0);
  for (int v = begin + static_cast<int>(threadIdx.x); v < end; v += kPieceThreads) {
    const float logit = row[v];
    best = MaxOp{}(best, PackEntry(logit, v));
    softmax = MergeSoftmax(softmax, make_float2(logit, logit == logit ? 1.0f : NAN));
  }
  best = BlockReduce(best, MaxOp{}, best_space);
  softmax = WarpMergeSoftmax(softmax);
  if (threadIdx.x % kWarpThreads == 0) softmax_space[threadIdx.x / kWarpThreads] = softmax;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kPieceThreads / kWarpThreads; ++w) {
    softmax = MergeSoftmax(softmax, softmax_space[w]);
  }
  const int64_t slot = int64_t{blockIdx.y} * kSamplePieces + blockIdx.x;
  a.piece_best[slot] = best;
  a.piece_softmax[slot] = softmax;
}

// One row as the finishing block sees it.
struct Row {
  const float* logits;
  int vocab;
  float temperature;
  float min_p;
  float top;  // the largest logit / temperature

  __device__ float Scaled(int v) const { return logits[v] / temperature; }
  // 0: min_p drops it.
  __device__ uint64_t Entry(int v) const {
    const float scaled = Scaled(v);
    const float below = scaled - top;
    // Without min_p only NaN is dropped, and that takes no exponential.
    const bool kept = min_p > 0 ? expf(below) >= min_p : below == below;
    return kept ? PackEntry(scaled, v) : 0;
  }
  __device__ unsigned long long Mass(uint64_t packed) const {
    return static_cast<unsigned long long>(expf(Scaled(PositionOf(packed)) - top) * kMassUnit);
  }
};

// How row s is drawn from.
enum class Way {
  kPieces,  // no rule but min_p: every piece draws, the best wins
  kList,    // all that may be drawn reaches a known bound: pieces list it
  kRow,     // neither: the finishing block reads the row again and again
};
struct Plan {
  Way way;
  float bound;      // of logit / temperature; kList
  bool needs_mass;  // of the whole row; kList
};

// Of a small top_k: the top_k-th best of the pieces' best tokens is reached by at least top_k
// tokens. Of top_p alone: tokens that each weigh less than their even share of what top_p leaves
// out (the best weighs 1, so that is at least 1 - top_p) are left out together; half of it, for
// rounding. Whole warps.
__device__ Plan MakePlan(const Row& row, const uint64_t* piece_best, int top_k, float top_p) {
  const bool top_k_limits = top_k > 0 && top_k < row.vocab;
  if (!top_k_limits && top_p >= 1.0f) return {Way::kPieces, 0, false};
  if (!top_k_limits) {
    const float share = (1.0f - fmaxf(top_p, 0.0f)) * 0.5f / static_cast<float>(row.vocab);
    return {Way::kList, row.top + logf(share), true};
  }
  if (top_k > kSamplePieces) return {Way::kRow, 0, false};
  const int lane = threadIdx.x % kWarpThreads;
  float bound = -INFINITY;
  static_assert(kSamplePieces == 2 * kWarpThreads);
  const uint64_t own[2] = {piece_best[lane], piece_best[lane + kWarpThreads]};
  int before[2] = {0, 0};
  for (int j = 0; j < kWarpThreads; ++j) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint64_t other = __shfl_sync(kFullMask, own[h], j);
      before[0] += other > own[0] ? 1 : 0;
      before[1] += other > own[1] ? 1 : 0;
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (before[h] == top_k - 1 && own[h] != 0) bound = row.Scaled(PositionOf(own[h]));
  }
  bound = WarpReduce(bound, MaxOp{});
  if (!(bound > -INFINITY)) return {Way::kRow, 0, false};
  return {Way::kList, bound, false};
}

// The best entry of the row and what follows from it. Whole warps.
__device__ Row MakeRow(const SampleArguments& a, int64_t s, uint64_t* best) {
  *best = 0;
  for (int i = threadIdx.x % kWarpThreads; i < kSamplePieces; i += kWarpThreads) {
    *best = MaxOp{}(*best, a.piece_best[s * kSamplePieces + i]);
  }
  *best = WarpReduce(*best, MaxOp{});
  Row row = {a.logits + s * a.vocab, a.vocab, a.temperature[s], a.min_p[s], 0};
  if (row.temperature > 0.0f) row.top = row.Scaled(PositionOf(*best));
  return row;
}

// Where a finishing block finds the entries that may still be drawn.
struct Entries {
  const Row& row;
  const uint64_t* list;  // null: the row
  int count;

  __device__ uint64_t operator()(int i) const { return list != nullptr ? list[i] : row.Entry(i); }
};

// The packed value from which on tokens may be drawn. `total`: the mass that top_p is a share of
// where top_k does not limit it; 0 if it is not known.
__device__ uint64_t DrawCutoff(SelectSpace& space, const Entries& entries, int top_k, float top_p,
                               unsigned long long total) {
  const Row& row = entries.row;
  const auto mass = [&](uint64_t packed) { return row.Mass(packed); };
  uint64_t cutoff = 1;
  if (top_k > 0 && top_k < entries.count) {
    cutoff = SelectCutoff<false>(space, 0, entries.count, static_cast<unsigned long long>(top_k),
                                 entries, mass);
    cutoff = MaxOp{}(cutoff, uint64_t{1});
  }
  if (top_p >= 1.0f) return cutoff;
  const auto kept = [&](int i) {
    const uint64_t packed = entries(i);
    return packed >= cutoff ? packed : 0;
  };
  if (cutoff > 1 || total == 0) {
    unsigned long long mass_here = 0;
    ForEachEntry(0, entries.count, kept, [&](uint64_t packed) {
      if (packed != 0) mass_here += row.Mass(packed);
    });
    total =
        BlockReduce(mass_here, SumOp{}, reinterpret_cast<unsigned long long*>(space.warp_space));
  }
  const double share = static_cast<double>(top_p) * static_cast<double>(total);
  const auto target = static_cast<unsigned long long>(share > 0 ? ceil(share) : 0.0);
  return MaxOp{}(SelectCutoff<true>(space, 0, entries.count, target, kept, mass), cutoff);
}

// Noise of UniformOpen's largest value is 16.6: a logit further below the best cannot win.
constexpr float kNoiseMax = 17.0f;

__device__ float Noisy(float scaled, uint32_t word) {
  return scaled - logf(-logf(UniformOpen(word)));
}

// The best of this thread's share of [begin, end), with noise; begin is a multiple of four.
__device__ uint64_t DrawFromRow(const Row& row, int begin, int end, uint64_t cutoff, uint64_t seed,
                                uint64_t position) {
  uint64_t best = 0;
  float best_value = row.top - 2 * kNoiseMax;
  for (int first = begin + 4 * static_cast<int>(threadIdx.x); first < end;
       first += 4 * static_cast<int>(blockDim.x)) {
    float scaled[4];
    bool plausible = false;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      scaled[j] = first + j < end ? row.Scaled(first + j) : -INFINITY;
      plausible |= scaled[j] + kNoiseMax >= best_value;
    }
    if (!plausible) continue;
    const PhiloxBlock block = Philox(seed, static_cast<uint64_t>(first / 4), position);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int v = first + j;
      if (!(scaled[j] + kNoiseMax >= best_value) || row.Entry(v) < cutoff) continue;
      const float drawn = Noisy(scaled[j], block.word[j]);
      const uint64_t packed = PackEntry(drawn, v);
      if (packed > best) {
        best = packed;
        best_value = drawn;
      }
    }
  }
  return best;
}

__device__ uint64_t DrawFromList(const Entries& entries, uint64_t cutoff, uint64_t seed,
                                 uint64_t position) {
  uint64_t best = 0;
  for (int i = threadIdx.x; i < entries.count; i += kRowThreads) {
    if (entries(i) < cutoff) continue;
    const int v = PositionOf(entries(i));
    const PhiloxBlock block = Philox(seed, static_cast<uint64_t>(v / 4), position);
    // A selection, since a run-time index would move the block to local memory.
    const uint32_t word = v % 4 < 2 ? (v % 4 == 0 ? block.word[0] : block.word[1])
                                    : (v % 4 == 2 ? block.word[2] : block.word[3]);
    best = MaxOp{}(best, PackEntry(Noisy(entries.row.Scaled(v), word), v));
  }
  return best;
}

// Lists this thread's share of the entries of [begin, end) at and above the bound; the mass of all
// of them, if it is asked for.
__device__ unsigned long long ListEntries(const SampleArguments& a, const Row& row, int64_t s,
                                          int begin, int end, const Plan& plan) {
  const uint32_t bound_key = OrderKey(plan.bound);
  unsigned long long mass = 0;
  ForEachEntry(
      begin, end, [&](int v) { return row.Entry(v); },
      [&](uint64_t packed) {
        if (packed == 0) return;
        if (plan.needs_mass) mass += row.Mass(packed);
        if (packed >> 32 < bound_key) return;
        const int at = atomicAdd(&a.list_size[s], 1);
        if (at < kSampleListMax) a.list[s * kSampleListMax + at] = packed;
      });
  return mass;
}

// Block (piece, s).
__global__ void __launch_bounds__(kPieceThreads)
    DrawPiecesKernel(const __grid_constant__ SampleArguments a) {
  __shared__ uint64_t space[kPieceThreads / kWarpThreads];
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t s = blockIdx.y;
  uint64_t likeliest = 0;
  const Row row = MakeRow(a, s, &likeliest);
  if (!(row.temperature > 0.0f)) return;
  const Plan plan = MakePlan(row, a.piece_best + s * kSamplePieces, a.top_k[s], a.top_p[s]);
  const int begin = static_cast<int>(blockIdx.x) * a.PieceTokens();
  const int end = min(begin + a.PieceTokens(), a.vocab);
  const int64_t slot = s * kSamplePieces + blockIdx.x;
  if (plan.way == Way::kPieces) {
    uint64_t best =
        DrawFromRow(row, begin, end, 1, a.seed[s], static_cast<uint64_t>(a.position[s]));
    best = BlockReduce(best, MaxOp{}, space);
    if (threadIdx.x == 0) a.piece_drawn[slot] = best;
  } else if (plan.way == Way::kList) {
    unsigned long long mass = ListEntries(a, row, s, begin, end, plan);
    mass = BlockReduce(mass, SumOp{}, reinterpret_cast<unsigned long long*>(space));
    if (threadIdx.x == 0) a.piece_mass[slot] = mass;
  }
}

// A token drawn by the parameters of row s; -1 if none may be drawn.
__device__ int Draw(SelectSpace& space, const SampleArguments& a, const Row& row, int64_t s) {
  const int top_k = a.top_k[s];
  const float top_p = a.top_p[s];
  const auto position = static_cast<uint64_t>(a.position[s]);
  const Plan plan = MakePlan(row, a.piece_best + s * kSamplePieces, top_k, top_p);
  uint64_t best = 0;
  if (plan.way == Way::kPieces) {
    if (threadIdx.x < kSamplePieces) best = a.piece_drawn[s * kSamplePieces + threadIdx.x];
  } else {
    const int size = a.list_size[s];
    const bool listed = plan.way == Way::kList && size <= kSampleListMax;
    const Entries entries = {row, listed ? a.list + s * kSampleListMax : nullptr,
                             listed ? size : row.vocab};
    unsigned long long total = 0;
    if (plan.needs_mass) {
      for (int i = 0; i < kSamplePieces; ++i) total += a.piece_mass[s * kSamplePieces + i];
    }
    const uint64_t cutoff = DrawCutoff(space, entries, top_k, top_p, total);
    best = listed ? DrawFromList(entries, cutoff, a.seed[s], position)
                  : DrawFromRow(row, 0, row.vocab, cutoff, a.seed[s], position);
  }
  best = BlockReduce(best, MaxOp{}, space.warp_space);
  return best == 0 ? -1 : PositionOf(best);
}

// The num_top likeliest tokens in order: those at and above the cutoff in any order, then each to
// the place that as many entries precede.
__device__ void WriteTop(SelectSpace& space, const SampleArguments& a, const Row& row, int64_t s,
                         float lse) {
  const auto entry = [&](int v) { return PackEntry(row.logits[v], v); };
  const uint64_t cutoff =
      SelectCutoff<false>(space, 0, row.vocab, static_cast<unsigned long long>(a.num_top), entry,
                          [](uint64_t) { return 0ull; });
  if (threadIdx.x == 0) space.bucket = 0;
  __syncthreads();
  int32_t* tokens = a.top_tokens + s * a.num_top;
  for (int v = threadIdx.x; v < row.vocab; v += kRowThreads) {
    if (entry(v) >= cutoff) tokens[atomicAdd(&space.bucket, 1)] = v;
  }
  __syncthreads();
  const int i = threadIdx.x;  // num_top is at most kRowThreads
  const int token = i < a.num_top ? tokens[i] : 0;
  int before = 0;
  for (int j = 0; i < a.num_top && j < a.num_top; ++j) {
    before += entry(tokens[j]) > entry(token) ? 1 : 0;
  }
  __syncthreads();  // the list has been read
  if (i >= a.num_top) return;
  tokens[before] = token;
  a.top_logprobs[s * a.num_top + before] = row.logits[token] - lse;
}

__global__ void __launch_bounds__(kRowThreads)
    FinishRowKernel(const __grid_constant__ SampleArguments a) {
  __shared__ SelectSpace space;
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t s = blockIdx.x;
  float2 softmax = make_float2(-INFINITY, 0);
  for (int i = threadIdx.x % kWarpThreads; i < kSamplePieces; i += kWarpThreads) {
    softmax = MergeSoftmax(softmax, a.piece_softmax[s * kSamplePieces + i]);
  }
  softmax = WarpMergeSoftmax(softmax);
  const float lse = softmax.x + logf(softmax.y);
  uint64_t likeliest = 0;
  const Row row = MakeRow(a, s, &likeliest);
  int token = PositionOf(likeliest);
  if (row.temperature > 0.0f) {
    const int drawn = Draw(space, a, row, s);
    if (drawn >= 0) token = drawn;  // none: all logits are NaN
  }
  if (threadIdx.x == 0) {
    a.tokens[s] = token;
    a.logprobs[s] = row.logits[token] - lse;
  }
  if (a.num_top > 0) WriteTop(space, a, row, s, lse);
}

}  // namespace

void Sample(TensorView tokens, TensorView logprobs, TensorView top_tokens, TensorView top_logprobs,
            ConstTensorView logits, const ops::SampleParams& params, Scratch& scratch,
            const Stream& stream) {
  const int64_t sequences = logits.shape[0];
  if (sequences == 0) return;
  CHECK_LE(top_tokens.shape[1], kRowThreads) << "likeliest tokens";
  const ScratchScope scope(scratch);
  const int64_t pieces = sequences * kSamplePieces;
  SampleArguments a = {};
  a.tokens = tokens.As<int32_t>();
  a.logprobs = logprobs.As<float>();
  a.top_tokens = top_tokens.As<int32_t>();
  a.top_logprobs = top_logprobs.As<float>();
  a.logits = logits.As<float>();
  a.temperature = params.temperature.As<float>();
  a.top_k = params.top_k.As<int32_t>();
  a.top_p = params.top_p.As<float>();
  a.min_p = params.min_p.As<float>();
  a.seed = params.seed.As<uint64_t>();
  a.position = params.position.As<int32_t>();
  a.vocab = static_cast<int>(logits.shape[1]);
  a.num_top = static_cast<int>(top_tokens.shape[1]);
  a.piece_best = scratch.Take({pieces}, DType::kU64).As<uint64_t>();
  a.piece_softmax = reinterpret_cast<float2*>(scratch.Take({pieces, 2}, DType::kF32).data);
  a.piece_drawn = scratch.Take({pieces}, DType::kU64).As<uint64_t>();
  a.piece_mass =
      reinterpret_cast<unsigned long long*>(scratch.Take({pieces}, DType::kU64).As<uint64_t>());
  a.list = scratch.Take({sequences, kSampleListMax}, DType::kU64).As<uint64_t>();
  a.list_size = scratch.Take({sequences}, DType::kI32).As<int32_t>();
  const dim3 piece_blocks(kSamplePieces, static_cast<unsigned>(sequences));
  Launch(SummariseKernel, Grid(piece_blocks, kPieceThreads), stream, a);
  Launch(DrawPiecesKernel, Grid(piece_blocks, kPieceThreads), stream, a);
  Launch(FinishRowKernel, Grid(static_cast<unsigned>(sequences), kRowThreads), stream, a);
}

}  // namespace tamis::cuda
