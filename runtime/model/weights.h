// SPDX-License-Identifier: Apache-2.0
// One rank's weights as views into one buffer, and the arithmetic of its size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "parallel/shard.h"
#include "runtime/model/config.h"

namespace tamis {

struct LayerWeights {
  TensorView attn_norm;  // [H]
  TensorView qkv;        // [(Nq_local + 2 * Nkv_local) * D, H], query heads, key heads, value heads
  TensorView o;          // [H, Nq_local * D]
  TensorView ffn_norm;   // [H]
  TensorView gate_up;    // [2 * F_local, H], gate first
  TensorView down;       // [H, F_local]
};

struct ModelWeights {
  TensorView embedding;  // [V_local, H]
  std::vector<LayerWeights> layers;
  TensorView final_norm;  // [H]
  TensorView lm_head;     // [V_local, H]; the embedding's memory when tied
  DType dtype = DType::kF32;
  Buffer buffer;  // owns all of the above
};

// The tensor names of a Hugging Face Llama checkpoint; every loader speaks in them.
//   model.embed_tokens.weight, model.layers.N.input_layernorm.weight,
//   model.layers.N.self_attn.{q,k,v,o}_proj.weight, model.layers.N.post_attention_layernorm.weight,
//   model.layers.N.mlp.{gate,up,down}_proj.weight, model.norm.weight, lm_head.weight

// Every tensor of such a checkpoint and its shape; loaders check a file against the list.
struct CheckpointTensor {
  std::string name;
  Shape shape;
};
std::vector<CheckpointTensor> CheckpointTensors(const ModelConfig& config);

// Bytes of one rank's weights.
size_t WeightBytes(const ModelConfig& config, const ModelShard& shard, DType dtype);

// Allocates one rank's weights, uninitialised.
ModelWeights AllocateWeights(const ModelConfig& config, const ModelShard& shard, DType dtype,
                             DeviceKind device);

// A piece of a checkpoint tensor and where it goes: rows x columns of `name` fill `target`, a
// 2-D view (norms: 1 x H). The list covers one rank's weights exactly once; a tied lm_head has no
// entry. Loaders walk it and read nothing else.
struct WeightPiece {
  std::string name;
  Shape full_shape;  // of the checkpoint tensor
  Slice rows;        // for 1-D tensors {0, 1}
  Slice columns;
  TensorView target;  // [rows.count, columns.count]
};
std::vector<WeightPiece> WeightPieces(const ModelConfig& config, const ModelShard& shard,
                                      const ModelWeights& weights);

// Fills the weights with reproducible pseudo-random values: each element depends on (seed, tensor
// name, global row, global column) alone, so every rank count holds the same model. Norm weights
// near 1, matrices of standard deviation 1/sqrt(columns). They are there when it returns.
void FillDummyWeights(const ModelConfig& config, const ModelShard& shard, uint64_t seed,
                      ModelWeights& weights, const Stream& stream);

}  // namespace tamis
