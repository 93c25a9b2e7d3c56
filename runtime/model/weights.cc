// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/weights.h"

#include <string>
#include <utility>

namespace tamis {
namespace {

constexpr size_t kAlignment = 256;  // of every tensor: vector loads and tensor maps want it

// Hands out places for one tensor after the other.
class Placer {
 public:
  explicit Placer(DType dtype) : dtype_(dtype) {}
  size_t Take(Shape shape) {
    const size_t begin = used_;
    const size_t bytes = static_cast<size_t>(shape.elements()) * DTypeBytes(dtype_);
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return begin;
  }
  size_t used() const { return used_; }

 private:
  DType dtype_;
  size_t used_ = 0;
};

// Calls visit(member, shape) for every tensor that has memory of its own, in a fixed order.
template <typename Visit>
void VisitTensors(const ModelConfig& config, const ModelShard& shard, ModelWeights& weights,
                  const Visit& visit) {
  const int64_t hidden = config.hidden_size;
  const int64_t q_rows = shard.heads.q_heads.count * config.head_dim;
  const int64_t kv_rows = shard.heads.kv_heads.count * config.head_dim;
  visit(weights.embedding, Shape{shard.vocab.count, hidden});
  for (LayerWeights& layer : weights.layers) {
    visit(layer.attn_norm, Shape{hidden});
    visit(layer.qkv, Shape{q_rows + 2 * kv_rows, hidden});
    visit(layer.o, Shape{hidden, q_rows});
    visit(layer.ffn_norm, Shape{hidden});
    visit(layer.gate_up, Shape{2 * shard.ffn.count, hidden});
    visit(layer.down, Shape{hidden, shard.ffn.count});
  }
  visit(weights.final_norm, Shape{hidden});
  if (!config.tied_embeddings) visit(weights.lm_head, Shape{shard.vocab.count, hidden});
}

Slice Times(Slice heads, int64_t head_dim) {
  return {heads.begin * head_dim, heads.count * head_dim};
}

// Collects pieces; a fused target takes several one below the other.
class PieceList {
 public:
  void Norm(std::string name, const TensorView& target) {
    const int64_t width = target.shape[0];
    pieces_.push_back({std::move(name), {width}, {0, 1}, {0, width}, Reshape(target, {1, width})});
  }
  // Rows `rows` of a [rows_total, columns_total] tensor into the target's rows from `target_row`.
  void RowsOf(std::string name, int64_t rows_total, Slice rows, const TensorView& target,
              int64_t target_row = 0) {
    const int64_t columns = target.shape[1];
    pieces_.push_back({std::move(name),
                       {rows_total, columns},
                       rows,
                       {0, columns},
                       Rows(target, target_row, rows.count)});
  }
  void ColumnsOf(std::string name, int64_t columns_total, Slice columns, const TensorView& target) {
    const int64_t rows = target.shape[0];
    pieces_.push_back({std::move(name), {rows, columns_total}, {0, rows}, columns, target});
  }
  std::vector<WeightPiece> Take() { return std::move(pieces_); }

 private:
  std::vector<WeightPiece> pieces_;
};

std::string LayerPrefix(size_t layer_idx) {
  return "model.layers." + std::to_string(layer_idx) + ".";
}

}  // namespace

size_t WeightBytes(const ModelConfig& config, const ModelShard& shard, DType dtype) {
  ModelWeights weights;
  weights.layers.resize(static_cast<size_t>(config.num_layers));
  Placer placer(dtype);
  VisitTensors(config, shard, weights,
               [&](TensorView&, const Shape& shape) { placer.Take(shape); });
  return placer.used();
}

ModelWeights AllocateWeights(const ModelConfig& config, const ModelShard& shard, DType dtype,
                             DeviceKind device) {
  ModelWeights weights;
  weights.dtype = dtype;
  weights.layers.resize(static_cast<size_t>(config.num_layers));
  weights.buffer = Buffer(MemoryOf(device), WeightBytes(config, shard, dtype), "weights");
  Placer placer(dtype);
  VisitTensors(config, shard, weights, [&](TensorView& tensor, const Shape& shape) {
    tensor = weights.buffer.View(shape, dtype, placer.Take(shape));
  });
  if (config.tied_embeddings) weights.lm_head = weights.embedding;
  return weights;
}

std::vector<CheckpointTensor> CheckpointTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t q_rows = config.num_q_heads * config.head_dim;
  const int64_t kv_rows = config.num_kv_heads * config.head_dim;
  std::vector<CheckpointTensor> tensors;
  tensors.push_back({"model.embed_tokens.weight", {config.vocab_size, hidden}});
  for (size_t l = 0; l < static_cast<size_t>(config.num_layers); ++l) {
    const std::string prefix = LayerPrefix(l);
    tensors.push_back({prefix + "input_layernorm.weight", {hidden}});
    tensors.push_back({prefix + "self_attn.q_proj.weight", {q_rows, hidden}});
    tensors.push_back({prefix + "self_attn.k_proj.weight", {kv_rows, hidden}});
    tensors.push_back({prefix + "self_attn.v_proj.weight", {kv_rows, hidden}});
    tensors.push_back({prefix + "self_attn.o_proj.weight", {hidden, q_rows}});
    tensors.push_back({prefix + "post_attention_layernorm.weight", {hidden}});
    tensors.push_back({prefix + "mlp.gate_proj.weight", {config.ffn_size, hidden}});
    tensors.push_back({prefix + "mlp.up_proj.weight", {config.ffn_size, hidden}});
    tensors.push_back({prefix + "mlp.down_proj.weight", {hidden, config.ffn_size}});
  }
  tensors.push_back({"model.norm.weight", {hidden}});
  if (!config.tied_embeddings) tensors.push_back({"lm_head.weight", {config.vocab_size, hidden}});
  return tensors;
}

std::vector<WeightPiece> WeightPieces(const ModelConfig& config, const ModelShard& shard,
                                      const ModelWeights& weights) {
  const Slice q_rows = Times(shard.heads.q_heads, config.head_dim);
  const Slice kv_rows = Times(shard.heads.kv_heads, config.head_dim);
  const int64_t q_total = config.num_q_heads * config.head_dim;
  const int64_t kv_total = config.num_kv_heads * config.head_dim;
  PieceList list;
  list.RowsOf("model.embed_tokens.weight", config.vocab_size, shard.vocab, weights.embedding);
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    const LayerWeights& layer = weights.layers[l];
    const std::string prefix = LayerPrefix(l);
    list.Norm(prefix + "input_layernorm.weight", layer.attn_norm);
    list.RowsOf(prefix + "self_attn.q_proj.weight", q_total, q_rows, layer.qkv);
    list.RowsOf(prefix + "self_attn.k_proj.weight", kv_total, kv_rows, layer.qkv, q_rows.count);
    list.RowsOf(prefix + "self_attn.v_proj.weight", kv_total, kv_rows, layer.qkv,
                q_rows.count + kv_rows.count);
    list.ColumnsOf(prefix + "self_attn.o_proj.weight", q_total, q_rows, layer.o);
    list.Norm(prefix + "post_attention_layernorm.weight", layer.ffn_norm);
    list.RowsOf(prefix + "mlp.gate_proj.weight", config.ffn_size, shard.ffn, layer.gate_up);
    list.RowsOf(prefix + "mlp.up_proj.weight", config.ffn_size, shard.ffn, layer.gate_up,
                shard.ffn.count);
    list.ColumnsOf(prefix + "mlp.down_proj.weight", config.ffn_size, shard.ffn, layer.down);
  }
  list.Norm("model.norm.weight", weights.final_norm);
  if (!config.tied_embeddings) {
    list.RowsOf("lm_head.weight", config.vocab_size, shard.vocab, weights.lm_head);
  }
  return list.Take();
}

}  // namespace tamis
