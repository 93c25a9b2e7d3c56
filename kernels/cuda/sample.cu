// SPDX-License-Identifier: Apache-2.0
// Sample: blocks first summarise pieces of a row (best entry, maximum, sum of exponentials), then
// one block per row finishes. The tokens that may be drawn are a prefix of the order, so each rule
// only moves a cutoff. Weights are summed as integers: the same bits on every rank.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/radix_select.cuh"
#include "kernels/cuda/sample.h"
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
  uint64_t* piece_best;   // [S, kSamplePieces]
  float2* piece_softmax;  // [S, kSamplePieces] (maximum, sum of exponentials over it)
  int vocab, num_top;
};

__device__ __forceinline__ float2 MergeSoftmax(float2 a, float2 b) {
  const float max = fmaxf(a.x, b.x);
  if (max == -INFINITY) return make_float2(max, 0);
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
  const int piece = (a.vocab + kSamplePieces - 1) / kSamplePieces;
  const int begin = static_cast<int>(blockIdx.x) * piece;
  const int end = min(begin + piece, a.vocab);
  uint64_t best = 0;
  float2 softmax = make_float2(-INFINITY, 0);
  for (int v = begin + static_cast<int>(threadIdx.x); v < end; v += kPieceThreads) {
    const float logit = row[v];
    best = MaxOp{}(best, PackEntry(logit, v));
    softmax = MergeSoftmax(softmax, make_float2(logit, 1.0f));
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
    return expf(scaled - top) >= min_p ? PackEntry(scaled, v) : 0;
  }
  __device__ unsigned long long Mass(uint64_t packed) const {
    return static_cast<unsigned long long>(expf(Scaled(PositionOf(packed)) - top) * kMassUnit);
  }
};

// The packed value from which on tokens may be drawn.
__device__ uint64_t DrawCutoff(SelectSpace& space, const Row& row, int top_k, float top_p) {
  const auto entry = [&](int v) { return row.Entry(v); };
  const auto mass = [&](uint64_t packed) { return row.Mass(packed); };
  uint64_t cutoff = 1;
  if (top_k > 0 && top_k < row.vocab) {
    cutoff = SelectCutoff<false>(space, 0, row.vocab, static_cast<unsigned long long>(top_k), entry,
                                 mass);
    cutoff = MaxOp{}(cutoff, uint64_t{1});
  }
  if (top_p >= 1.0f) return cutoff;
  const auto kept = [&](int v) {
    const uint64_t packed = row.Entry(v);
    return packed >= cutoff ? packed : 0;
  };
  unsigned long long total = 0;
  for (int v = threadIdx.x; v < row.vocab; v += kRowThreads) {
    const uint64_t packed = kept(v);
    if (packed != 0) total += row.Mass(packed);
  }
  total = BlockReduce(total, SumOp{}, reinterpret_cast<unsigned long long*>(space.warp_space));
  const double share = static_cast<double>(top_p) * static_cast<double>(total);
  const auto target = static_cast<unsigned long long>(share > 0 ? ceil(share) : 0.0);
  return MaxOp{}(SelectCutoff<true>(space, 0, row.vocab, target, kept, mass), cutoff);
}

// The token of the largest logit / temperature + noise among those at and above the cutoff; -1 if
// there is none.
__device__ int Draw(SelectSpace& space, const Row& row, uint64_t cutoff, uint64_t seed,
                    int position) {
  constexpr float kNoiseMax = 17.0f;  // more than UniformOpen's largest value gives
  uint64_t best = 0;
  float best_value = row.top - 2 * kNoiseMax;
  for (int v = threadIdx.x; v < row.vocab; v += kRowThreads) {
    const float scaled = row.Scaled(v);
    if (scaled + kNoiseMax < best_value || row.Entry(v) < cutoff) continue;
    const PhiloxBlock block =
        Philox(seed, static_cast<uint64_t>(v / 4), static_cast<uint64_t>(position));
    // A selection, since a run-time index would move the block to local memory.
    const uint32_t word = v % 4 < 2 ? (v % 4 == 0 ? block.word[0] : block.word[1])
                                    : (v % 4 == 2 ? block.word[2] : block.word[3]);
    const float drawn = scaled - logf(-logf(UniformOpen(word)));
    const uint64_t packed = PackEntry(drawn, v);
    if (packed > best) {
      best = packed;
      best_value = drawn;
    }
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
  uint64_t best = 0;
  float2 softmax = make_float2(-INFINITY, 0);
  for (int i = threadIdx.x % kWarpThreads; i < kSamplePieces; i += kWarpThreads) {
    best = MaxOp{}(best, a.piece_best[s * kSamplePieces + i]);
    softmax = MergeSoftmax(softmax, a.piece_softmax[s * kSamplePieces + i]);
  }
  best = WarpReduce(best, MaxOp{});
  softmax = WarpMergeSoftmax(softmax);
  const float lse = softmax.x + logf(softmax.y);
  const int likeliest = PositionOf(best);

  Row row = {a.logits + s * a.vocab, a.vocab, a.temperature[s], a.min_p[s], 0};
  int token = likeliest;
  if (row.temperature > 0.0f) {
    row.top = row.Scaled(likeliest);
    const uint64_t cutoff = DrawCutoff(space, row, a.top_k[s], a.top_p[s]);
    const int drawn = Draw(space, row, cutoff, a.seed[s], a.position[s]);
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
  const dim3 piece_blocks(kSamplePieces, static_cast<unsigned>(sequences));
  Launch(SummariseKernel, Grid(piece_blocks, kPieceThreads), stream, a);
  Launch(FinishRowKernel, Grid(static_cast<unsigned>(sequences), kRowThreads), stream, a);
}

}  // namespace tamis::cuda
