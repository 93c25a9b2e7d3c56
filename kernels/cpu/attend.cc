// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/check.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/vector_loops.h"

namespace tamis::cpu {
namespace {

constexpr int64_t kChunk = kAttentionChunkTokens;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

int64_t Padded(int64_t head_dim) { return (head_dim + kLanes - 1) / kLanes * kLanes; }

float* TakeFloats(Scratch& scratch, int64_t rows, int64_t columns) {
  return scratch.Take({rows, columns}, DType::kF32).As<float>();
}
int64_t* TakeInts(Scratch& scratch, int64_t count) {
  return scratch.Take({count}, DType::kI64).As<int64_t>();
}

using Four __attribute__((vector_size(16))) = float;

Four LoadFour(const float* from) {
  Four four;
  std::memcpy(&four, from, sizeof four);
  return four;
}
template <typename T>
Four LoadFour(const T* from) {
  return Four{ToFloat(from[0]), ToFloat(from[1]), ToFloat(from[2]), ToFloat(from[3])};
}

// to[d * 16 + i] = from[i][d] for four keys and four elements. In registers: element by element the
// core has too few loads in flight to keep the memory busy.
template <typename T>
void TransposeFour(float* to, const T* const* from, int64_t d) {
  const Four a = LoadFour(from[0] + d);
  const Four b = LoadFour(from[1] + d);
  const Four c = LoadFour(from[2] + d);
  const Four e = LoadFour(from[3] + d);
  const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four ce_low = __builtin_shufflevector(c, e, 0, 4, 1, 5);
  const Four ce_high = __builtin_shufflevector(c, e, 2, 6, 3, 7);
  const Four rows[4] = {__builtin_shufflevector(ab_low, ce_low, 0, 1, 4, 5),
                        __builtin_shufflevector(ab_low, ce_low, 2, 3, 6, 7),
                        __builtin_shufflevector(ab_high, ce_high, 0, 1, 4, 5),
                        __builtin_shufflevector(ab_high, ce_high, 2, 3, 6, 7)};
  for (int64_t i = 0; i < 4; ++i) std::memcpy(to + (d + i) * kLanes, &rows[i], sizeof rows[i]);
}

// Rows lie in blocks too short for the hardware to see a stream, so the next ones are asked for
// early. A hint: past the end it names the last row again.
template <typename T>
void PrefetchRow(const T* base, const int64_t* offsets, int64_t i, int64_t n, int64_t head_dim) {
  constexpr int64_t kAhead = 16;
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  const T* row = base + offsets[std::min(i + kAhead, n - 1)];
  for (int64_t d = 0; d < head_dim; d += kLine) __builtin_prefetch(row + d);
}

// Keys go in tiles of 16 tokens, [tiles, D, 16], so that one vector holds one element of 16 keys.
// The last tile is filled up with a key that is there; nobody reads those logits.
template <typename T>
void LoadKeys(float* keys, const T* base, const int64_t* offsets, int64_t n, int64_t head_dim) {
  const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
  for (int64_t j = 0; j < padded; j += 4) {
    const T* from[4];
    for (int64_t i = 0; i < 4; ++i) {
      from[i] = base + offsets[std::min(j + i, n - 1)];
      PrefetchRow(base, offsets, j + i, n, head_dim);
    }
    float* to = keys + j / kLanes * kLanes * head_dim + j % kLanes;
    int64_t d = 0;
    for (; d + 4 <= head_dim; d += 4) TransposeFour(to, from, d);
    for (; d < head_dim; ++d) {
      for (int64_t i = 0; i < 4; ++i) to[d * kLanes + i] = ToFloat(from[i][d]);
    }
  }
}

template <typename T>
void LoadValues(float* values, const T* base, const int64_t* offsets, int64_t n, int64_t head_dim) {
  const int64_t padded_dim = Padded(head_dim);
  for (int64_t i = 0; i < n; ++i) {
    const T* from = base + offsets[i];
    float* to = values + i * padded_dim;
    PrefetchRow(base, offsets, i, n, head_dim);
    for (int64_t d = 0; d < head_dim; ++d) to[d] = ToFloat(from[d]);
    std::fill(to + head_dim, to + padded_dim, 0.0f);
  }
}

}  // namespace

AttentionBlock::AttentionBlock(Scratch& scratch, int64_t rows_max, int64_t head_dim)
    : loops_(BestVectorLoops()),
      head_dim_(head_dim),
      padded_dim_(Padded(head_dim)),
      queries_(TakeFloats(scratch, rows_max, head_dim)),
      keys_(TakeFloats(scratch, kChunk, head_dim)),
      values_(TakeFloats(scratch, kChunk, padded_dim_)),
      logits_(TakeFloats(scratch, rows_max, kChunk)),
      partial_(TakeFloats(scratch, rows_max, padded_dim_)),
      acc_(TakeFloats(scratch, rows_max, padded_dim_)),
      max_(TakeFloats(scratch, rows_max, 1)),
      sum_(TakeFloats(scratch, rows_max, 1)),
      keep_(TakeFloats(scratch, rows_max, 1)),
      take_(TakeFloats(scratch, rows_max, 1)),
      limits_(TakeInts(scratch, rows_max)),
      offsets_(TakeInts(scratch, kChunk)) {}

size_t AttentionBlock::ScratchBytes(int64_t rows_max, int64_t head_dim) {
  const int64_t floats = rows_max * (head_dim + kChunk + 2 * Padded(head_dim) + 4) +
                         kChunk * (head_dim + Padded(head_dim));
  constexpr int64_t kAlignmentSlack = 12 * 256;
  return static_cast<size_t>(floats * 4 + (rows_max + kChunk) * 8 + kAlignmentSlack);
}

void AttentionBlock::Reset(int64_t rows) {
  rows_ = rows;
  std::fill_n(max_, rows, kNothing);
  std::fill_n(sum_, rows, 0.0f);
  std::fill_n(acc_, rows * padded_dim_, 0.0f);
}

void AttentionBlock::SetQuery(int64_t row, const void* query, DType dtype) {
  ForFloatType(dtype, [&](auto zero) {
    const auto* from = static_cast<const decltype(zero)*>(query);
    for (int64_t d = 0; d < head_dim_; ++d) queries_[row * head_dim_ + d] = ToFloat(from[d]);
  });
}

void AttentionBlock::LoadChunk(const ChunkSource& source, int64_t n) {
  CHECK_LE(n, kChunk);
  ForFloatType(source.dtype, [&](auto zero) {
    using T = decltype(zero);
    LoadKeys(keys_, static_cast<const T*>(source.k_base), offsets_, n, head_dim_);
    LoadValues(values_, static_cast<const T*>(source.v_base), offsets_, n, head_dim_);
  });
}

void AttentionBlock::ComputeLogits(float scale, int64_t begin, int64_t end, int64_t n) {
  loops_.dot_tiles(logits(begin), queries_ + begin * head_dim_, keys_, end - begin,
                   (n + kLanes - 1) / kLanes, head_dim_, kChunk, scale);
}

void AttentionBlock::Absorb(int64_t begin, int64_t end) {
  if (begin == end) return;
  // Rows go together over the tokens that all of them see, then one by one over what is left, so
  // that no row meets a token it may not attend to.
  const int64_t common = *std::min_element(limits_ + begin, limits_ + end);
  std::fill(partial_ + begin * padded_dim_, partial_ + end * padded_dim_, 0.0f);
  for (int64_t r = begin; r < end; ++r) {
    keep_[r] = 1.0f;
    take_[r] = 0.0f;
    if (limits_[r] == 0) continue;
    const MaxAndSum chunk = loops_.exp_row(logits(r), limits_[r]);
    const float max = std::max(max_[r], chunk.max);
    keep_[r] = std::exp(max_[r] - max);
    take_[r] = std::exp(chunk.max - max);
    sum_[r] = sum_[r] * keep_[r] + chunk.sum * take_[r];
    max_[r] = max;
  }
  loops_.add_weighted_values(partial_ + begin * padded_dim_, logits(begin), values_, end - begin,
                             common, padded_dim_, kChunk);
  for (int64_t r = begin; r < end; ++r) {
    float* partial = partial_ + r * padded_dim_;
    float* acc = acc_ + r * padded_dim_;
    loops_.add_weighted_values(partial, logits(r) + common, values_ + common * padded_dim_, 1,
                               limits_[r] - common, padded_dim_, kChunk);
    for (int64_t d = 0; d < padded_dim_; ++d) acc[d] = acc[d] * keep_[r] + partial[d] * take_[r];
  }
}

void AttentionBlock::Finish(int64_t row, void* out, DType dtype) const {
  const float* acc = acc_ + row * padded_dim_;
  const float factor = sum_[row] > 0.0f ? 1.0f / sum_[row] : 0.0f;
  ForFloatType(dtype, [&](auto zero) {
    using T = decltype(zero);
    T* to = static_cast<T*>(out);
    for (int64_t d = 0; d < head_dim_; ++d) to[d] = FromFloat<T>(acc[d] * factor);
  });
}

float AttentionBlock::LogSumExp(int64_t row) const { return max_[row] + std::log(sum_[row]); }

}  // namespace tamis::cpu
