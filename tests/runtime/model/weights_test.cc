// SPDX-License-Identifier: Apache-2.0
// Where a shard's weights lie, and that the pieces cover them exactly once.
#include "runtime/model/weights.h"

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/convert.h"
#include "runtime/model/weight_writer.h"

namespace tamis {
namespace {

ModelConfig SmallConfig(bool tied) {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = 40;
  config.num_layers = 2;
  config.num_q_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = 6;
  config.ffn_size = 23;
  config.vocab_size = 31;
  config.max_positions = 64;
  config.tied_embeddings = tied;
  return config;
}

ModelShard ShardOf(const ModelConfig& config, int rank, int size) {
  return ShardModel(config.num_q_heads, config.num_kv_heads, config.ffn_size, config.vocab_size,
                    rank, size);
}

int64_t ElementsOf(const ModelWeights& weights, bool tied) {
  int64_t elements = weights.embedding.elements() + weights.final_norm.elements() +
                     (tied ? 0 : weights.lm_head.elements());
  for (const LayerWeights& layer : weights.layers) {
    for (const TensorView& tensor :
         {layer.attn_norm, layer.qkv, layer.o, layer.ffn_norm, layer.gate_up, layer.down}) {
      elements += tensor.elements();
    }
  }
  return elements;
}

TEST(Weights, ThePiecesCoverEveryElementOnce) {
  for (bool tied : {false, true}) {
    const ModelConfig config = SmallConfig(tied);
    for (int size = 1; size <= 9; ++size) {
      for (int rank = 0; rank < size; ++rank) {
        const ModelShard shard = ShardOf(config, rank, size);
        const ModelWeights weights = AllocateWeights(config, shard, DType::kF32, DeviceKind::kCpu);
        EXPECT_EQ(weights.buffer.bytes(), WeightBytes(config, shard, DType::kF32));
        std::memset(weights.buffer.data(), 0, weights.buffer.bytes());
        for (const WeightPiece& piece : WeightPieces(config, shard, weights)) {
          const TensorView& target = piece.target;
          ASSERT_EQ(target.shape, (Shape{piece.rows.count, piece.columns.count})) << piece.name;
          ASSERT_TRUE(target.contiguous()) << piece.name;
          for (int64_t i = 0; i < target.elements(); ++i) target.As<float>()[i] += 1.0f;
        }
        const float* all = static_cast<const float*>(weights.buffer.data());
        int64_t once = 0;
        for (size_t i = 0; i < weights.buffer.bytes() / sizeof(float); ++i) {
          ASSERT_LE(all[i], 1.0f);
          once += all[i] == 1.0f;
        }
        EXPECT_EQ(once, ElementsOf(weights, tied)) << "rank " << rank << " of " << size;
      }
    }
  }
}

TEST(Weights, TensorsAreAlignedAndATiedHeadIsTheEmbedding) {
  const ModelConfig config = SmallConfig(true);
  const ModelWeights weights =
      AllocateWeights(config, ShardOf(config, 1, 2), DType::kBF16, DeviceKind::kCpu);
  const auto offset = [&](const TensorView& tensor) {
    return static_cast<const std::byte*>(tensor.data) -
           static_cast<const std::byte*>(weights.buffer.data());
  };
  for (const LayerWeights& layer : weights.layers) {
    for (const TensorView& tensor :
         {layer.attn_norm, layer.qkv, layer.o, layer.ffn_norm, layer.gate_up, layer.down}) {
      EXPECT_EQ(offset(tensor) % 256, 0);
    }
  }
  EXPECT_EQ(weights.lm_head.data, weights.embedding.data);
  EXPECT_EQ(weights.lm_head.shape, weights.embedding.shape);
}

TEST(Weights, PiecesNameCheckpointTensorsInsideTheirShape) {
  const ModelConfig config = SmallConfig(false);
  std::map<std::string, Shape> shapes;
  for (const CheckpointTensor& tensor : CheckpointTensors(config)) {
    EXPECT_TRUE(shapes.emplace(tensor.name, tensor.shape).second) << tensor.name << " twice";
  }
  EXPECT_EQ(shapes.size(), 3u + 2u * 9u);
  const ModelShard shard = ShardOf(config, 2, 4);
  const ModelWeights weights = AllocateWeights(config, shard, DType::kF32, DeviceKind::kCpu);
  const std::vector<WeightPiece> pieces = WeightPieces(config, shard, weights);
  EXPECT_EQ(pieces.size(), shapes.size());
  for (const WeightPiece& piece : pieces) {
    ASSERT_TRUE(shapes.contains(piece.name)) << piece.name;
    EXPECT_EQ(piece.full_shape, shapes[piece.name]) << piece.name;
    const bool norm = piece.full_shape.rank() == 1;
    EXPECT_LE(piece.rows.end(), norm ? 1 : piece.full_shape[0]) << piece.name;
    EXPECT_LE(piece.columns.end(), piece.full_shape[norm ? 0 : 1]) << piece.name;
  }
}

TEST(WeightWriter, RunsCoverATargetOfManyRunsInOrder) {
  // Rows of 1 MiB: a run holds a few of them, and the last run is short.
  constexpr int64_t kRows = 11;
  constexpr int64_t kColumns = 1 << 18;
  const Buffer buffer(MemoryKind::kCpu, kRows * kColumns * sizeof(float), "target");
  const TensorView target = buffer.View({kRows, kColumns}, DType::kF32);
  const Stream stream = Stream::Cpu();
  WeightWriter writer(DeviceKind::kCpu, stream);
  int64_t next_row = 0;
  int calls = 0;
  writer.Write(target, [&](int64_t first_row, int64_t num_rows, std::byte* out) {
    EXPECT_EQ(first_row, next_row);
    next_row += num_rows;
    ++calls;
    std::vector<float> row(kColumns);
    for (int64_t r = first_row; r < next_row; ++r, out += kColumns * sizeof(float)) {
      row.assign(kColumns, static_cast<float>(r));
      StoreFloats(row, DType::kF32, out);
    }
  });
  EXPECT_EQ(next_row, kRows);
  EXPECT_GT(calls, 1);
  for (int64_t r = 0; r < kRows; ++r) {
    EXPECT_EQ(target.As<float>()[r * kColumns], static_cast<float>(r));
    EXPECT_EQ(target.As<float>()[(r + 1) * kColumns - 1], static_cast<float>(r));
  }
}

TEST(DummyWeights, RoundToTheTargetDType) {
  const ModelConfig config = SmallConfig(false);
  const ModelShard shard = ShardOf(config, 0, 3);
  const Stream stream = Stream::Cpu();
  ModelWeights exact = AllocateWeights(config, shard, DType::kF32, DeviceKind::kCpu);
  ModelWeights half = AllocateWeights(config, shard, DType::kF16, DeviceKind::kCpu);
  FillDummyWeights(config, shard, 7, exact, stream);
  FillDummyWeights(config, shard, 7, half, stream);
  const TensorView& down = half.layers[1].down;
  for (int64_t i = 0; i < down.elements(); ++i) {
    EXPECT_EQ(static_cast<const cpu::F16*>(down.data)[i].bits,
              cpu::FromFloat<cpu::F16>(exact.layers[1].down.As<float>()[i]).bits);
  }
}

}  // namespace
}  // namespace tamis
