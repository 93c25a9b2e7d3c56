// SPDX-License-Identifier: Apache-2.0
// Whether each rank holds its slices of a model after loading.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "runtime/load/load_model.h"

namespace tamis {

inline ModelShard ShardOf(const ModelConfig& config, int rank, int size) {
  return ShardModel(config.num_q_heads, config.num_kv_heads, config.ffn_size, config.vocab_size,
                    rank, size);
}

// Allocates weights full of NaN, so that what a loader leaves out shows.
inline ModelWeights Poisoned(const ModelConfig& config, const ModelShard& shard, DType dtype) {
  ModelWeights weights = AllocateWeights(config, shard, dtype, DeviceKind::kCpu);
  std::memset(weights.buffer.data(), 0xff, weights.buffer.bytes());
  return weights;
}

inline ModelWeights LoadShard(ModelFiles& files, const ModelShard& shard,
                              DType dtype = DType::kF32) {
  ModelWeights weights = Poisoned(files.config(), shard, dtype);
  EXPECT_TRUE(files.Load(shard, weights, nullptr).ok());
  return weights;
}

// True if some element of the row is still the poison, all bits set.
template <typename Bits>
bool HoldsPoison(const void* row, int64_t columns) {
  const Bits* bits = static_cast<const Bits*>(row);
  return std::find(bits, bits + columns, std::numeric_limits<Bits>::max()) != bits + columns;
}

// Expects rows [row, row + rows) x columns [column, column + columns) of `whole` in `part`, bit for
// bit, and none of the poison.
inline void ExpectBlock(const TensorView& part, const TensorView& whole, int64_t row, int64_t rows,
                        int64_t column, int64_t columns, const char* name) {
  ASSERT_EQ(part.shape[0], rows) << name;
  ASSERT_EQ(part.shape[1], columns) << name;
  const int64_t element = static_cast<int64_t>(DTypeBytes(part.dtype));
  for (int64_t r = 0; r < rows; ++r) {
    const char* got = static_cast<const char*>(part.data) + r * part.row_stride * element;
    const char* want =
        static_cast<const char*>(whole.data) + ((row + r) * whole.row_stride + column) * element;
    ASSERT_EQ(std::memcmp(got, want, static_cast<size_t>(columns * element)), 0)
        << name << " row " << r;
    ASSERT_FALSE(element == 2 ? HoldsPoison<uint16_t>(got, columns)
                              : HoldsPoison<uint32_t>(got, columns))
        << name << " row " << r << " was not written";
  }
}

// Expects one rank's weights to be the slices of the whole model's, by the definition of the fused
// tensors and not by WeightPieces.
inline void ExpectSlices(const ModelConfig& config, const ModelShard& shard,
                         const ModelWeights& part, const ModelWeights& whole) {
  const int64_t dim = config.head_dim;
  const int64_t hidden = config.hidden_size;
  const Slice q = {shard.heads.q_heads.begin * dim, shard.heads.q_heads.count * dim};
  const Slice kv = {shard.heads.kv_heads.begin * dim, shard.heads.kv_heads.count * dim};
  const Slice ffn = shard.ffn;
  const int64_t q_total = config.num_q_heads * dim;
  const int64_t kv_total = config.num_kv_heads * dim;
  ExpectBlock(part.embedding, whole.embedding, shard.vocab.begin, shard.vocab.count, 0, hidden,
              "embedding");
  ExpectBlock(part.lm_head, whole.lm_head, shard.vocab.begin, shard.vocab.count, 0, hidden,
              "lm_head");
  ExpectBlock(Reshape(part.final_norm, {1, hidden}), Reshape(whole.final_norm, {1, hidden}), 0, 1,
              0, hidden, "final_norm");
  for (size_t l = 0; l < part.layers.size(); ++l) {
    const LayerWeights& mine = part.layers[l];
    const LayerWeights& all = whole.layers[l];
    ExpectBlock(Rows(mine.qkv, 0, q.count), all.qkv, q.begin, q.count, 0, hidden, "q");
    ExpectBlock(Rows(mine.qkv, q.count, kv.count), all.qkv, q_total + kv.begin, kv.count, 0, hidden,
                "k");
    ExpectBlock(Rows(mine.qkv, q.count + kv.count, kv.count), all.qkv,
                q_total + kv_total + kv.begin, kv.count, 0, hidden, "v");
    ExpectBlock(mine.o, all.o, 0, hidden, q.begin, q.count, "o");
    ExpectBlock(Rows(mine.gate_up, 0, ffn.count), all.gate_up, ffn.begin, ffn.count, 0, hidden,
                "gate");
    ExpectBlock(Rows(mine.gate_up, ffn.count, ffn.count), all.gate_up, config.ffn_size + ffn.begin,
                ffn.count, 0, hidden, "up");
    ExpectBlock(mine.down, all.down, 0, hidden, ffn.begin, ffn.count, "down");
    for (const auto& [norm, norm_all] :
         {std::pair{mine.attn_norm, all.attn_norm}, std::pair{mine.ffn_norm, all.ffn_norm}}) {
      ExpectBlock(Reshape(norm, {1, hidden}), Reshape(norm_all, {1, hidden}), 0, 1, 0, hidden,
                  "norm");
    }
  }
}

// Loads the model whole and at each of the rank counts, and expects every rank's slices.
inline void ExpectSlicesAt(ModelFiles& files, std::initializer_list<int> rank_counts, DType dtype) {
  const ModelConfig& config = files.config();
  const ModelWeights whole = LoadShard(files, ShardOf(config, 0, 1), dtype);
  for (int size : rank_counts) {
    for (int rank = 0; rank < size; ++rank) {
      SCOPED_TRACE(testing::Message() << "rank " << rank << " of " << size);
      const ModelShard shard = ShardOf(config, rank, size);
      ExpectSlices(config, shard, LoadShard(files, shard, dtype), whole);
    }
  }
}

}  // namespace tamis
