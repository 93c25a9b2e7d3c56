// SPDX-License-Identifier: Apache-2.0
// The one inner loop of all attention on the CPU: a block of query rows of one KV head against one
// chunk of keys and values. Every row is computed by itself and every sum has one fixed order, so a
// row's bits depend only on its own query and the tokens it attends to, whichever op asks.
#pragma once

#include <cstdint>

#include "kernels/cpu/vector_loops.h"
#include "kernels/kv_layout.h"
#include "kernels/scratch.h"

namespace tamis::cpu {

// Query rows that share loaded chunks; more rows reuse them more often, and take more scratch.
constexpr int64_t kQueryRows = 64;

// Where the rows of a chunk come from: the key of token i starts at element offset[i] of k_base.
struct ChunkSource {
  const void* k_base = nullptr;
  const void* v_base = nullptr;
  DType dtype = DType::kF32;
};

// The online softmax of R query rows over a sequence of chunks.
class AttentionBlock {
 public:
  // Room for `rows_max` rows, taken from scratch.
  AttentionBlock(Scratch& scratch, int64_t rows_max, int64_t head_dim);
  static size_t ScratchBytes(int64_t rows_max, int64_t head_dim);

  // Forgets everything; the block now has `rows` rows.
  void Reset(int64_t rows);
  // Row r's query: D elements of `dtype`.
  void SetQuery(int64_t row, const void* query, DType dtype);

  // Element offsets of the tokens of the chunk to load next, [kAttentionChunkTokens].
  int64_t* offsets() { return offsets_; }
  // Loads the n tokens at offsets() as float32.
  void LoadChunk(const ChunkSource& source, int64_t n);
  // Computes logits(r)[0, n) of rows [begin, end), the first n tokens of the chunk.
  void ComputeLogits(float scale, int64_t begin, int64_t end, int64_t n);
  float* logits(int64_t row) { return logits_ + row * kAttentionChunkTokens; }
  // Takes the first limits()[r] tokens of the chunk into rows [begin, end); uses up their logits.
  void Absorb(int64_t begin, int64_t end);
  // How many tokens of the chunk each row attends to; the caller's to fill. [rows_max]
  int64_t* limits() { return limits_; }

  // Row r's result, D elements of `dtype`; zeros if it attended to nothing.
  void Finish(int64_t row, void* out, DType dtype) const;
  // log(sum of exp(logit)) over what row r attended to.
  float LogSumExp(int64_t row) const;

 private:
  const VectorLoops& loops_;
  int64_t head_dim_;
  int64_t padded_dim_;  // a whole number of tiles
  int64_t rows_ = 0;
  float* queries_;    // [R, D]
  float* keys_;       // [chunk / 16, D, 16]
  float* values_;     // [chunk, D_pad]
  float* logits_;     // [R, chunk]
  float* partial_;    // [R, D_pad] the chunk's accumulator
  float* acc_;        // [R, D_pad]
  float* max_;        // [R]
  float* sum_;        // [R]
  float* keep_;       // [R] factors of the last Absorb: of what was there
  float* take_;       // [R] and of the chunk
  int64_t* limits_;   // [R]
  int64_t* offsets_;  // [chunk]
};

}  // namespace tamis::cpu
