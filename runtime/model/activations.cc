// SPDX-License-Identifier: Apache-2.0
// Sizes of everything a step needs besides weights and cache. One list of tensors serves both the
// arithmetic and the allocation, so that they cannot differ.
#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/scratch_bytes.h"
#include "runtime/model/llama.h"

namespace tamis {
namespace {

constexpr size_t kPartAlignment = 256;

size_t Aligned(size_t bytes) {
  return (bytes + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
}

// Hands out consecutive pieces of a buffer; over an empty one it only measures.
class Layout {
 public:
  explicit Layout(const Buffer* buffer) : buffer_(buffer) {}

  TensorView Take(Shape shape, DType dtype) {
    const size_t begin = bytes_;
    bytes_ += Aligned(static_cast<size_t>(shape.elements()) * DTypeBytes(dtype));
    return buffer_ == nullptr ? TensorView(nullptr, shape, dtype, DeviceKind::kCpu)
                              : buffer_->View(shape, dtype, begin);
  }
  size_t bytes() const { return bytes_; }

 private:
  const Buffer* buffer_;
  size_t bytes_ = 0;
};

void PlaceSelection(const ModelConfig& config, const ModelShard& shard, const StepLimits& limits,
                    DType dtype, Layout& layout, SelectionActivations& act) {
  const int64_t k_max = limits.selection.k_max;
  if (k_max == 0) return;
  const bool per_kv_head = limits.selection.scope == SelectionScope::kKvHead;
  const int64_t seqs = limits.num_slots;
  const int64_t rows = per_kv_head ? shard.heads.kv_heads.count : 1;  // Hs
  const SelectionPeers peers =
      PeersOf(limits.selection.scope, shard, config.num_kv_heads, limits.selection.score);
  act.scores = layout.Take({seqs, rows, limits.context_len_max}, DType::kF32);
  act.positions = layout.Take({seqs, rows, k_max}, DType::kI32);
  act.top_scores = layout.Take({seqs, rows, k_max}, DType::kF32);
  act.count = layout.Take({seqs}, DType::kI32);
  act.list_rows = layout.Take({seqs, rows, k_max}, DType::kI32);
  if (peers.exchange == SelectionExchange::kLists) {
    act.local_positions = layout.Take({seqs, rows, k_max}, DType::kI32);
    act.gathered_positions = layout.Take({shard.size, seqs * rows * k_max}, DType::kI32);
    act.gathered_scores = layout.Take({shard.size, seqs * rows * k_max}, DType::kF32);
  }
  const int64_t window = limits.selection.window;
  Shape vectors{seqs, rows, limits.context_len_max};
  if (window > 0) {
    vectors = {seqs, rows, window, limits.context_len_max};
    act.window_scores = layout.Take(vectors, DType::kF32);
    act.window_queries = layout.Take(
        {limits.selection.num_filters * seqs, window, shard.heads.q_heads.count * config.head_dim},
        dtype);
  }
  if (peers.exchange == SelectionExchange::kScoresByHead) {
    act.head_scores = layout.Take(vectors, DType::kF32);
    act.zeros = layout.Take(vectors, DType::kF32);
  }
}

void Place(const ModelConfig& config, const ModelShard& shard, DType dtype,
           const StepLimits& limits, Layout& layout, Activations& act) {
  const int64_t tokens = limits.num_tokens_max;
  const int64_t rows = limits.logit_rows_max;
  const int64_t hidden = config.hidden_size;
  const int64_t q_size_local = shard.heads.q_heads.count * config.head_dim;
  const int64_t kv_size_local = shard.heads.kv_heads.count * config.head_dim;
  const int64_t vocab_pad = shard.vocab_local_max;

  act.token_ids = layout.Take({tokens}, DType::kI32);
  act.residual = layout.Take({tokens, hidden}, dtype);
  act.normed = layout.Take({tokens, hidden}, dtype);
  act.qkv = layout.Take({tokens, q_size_local + 2 * kv_size_local}, dtype);
  act.attn = layout.Take({tokens, q_size_local}, dtype);
  act.partial = layout.Take({tokens, hidden}, dtype);
  act.gate_up = layout.Take({tokens, 2 * shard.ffn.count}, dtype);
  act.ffn = layout.Take({tokens, shard.ffn.count}, dtype);
  act.last_hidden = layout.Take({rows, hidden}, dtype);
  act.logits_local = layout.Take({rows, vocab_pad}, DType::kF32);
  act.logits_all = layout.Take({shard.size, rows, vocab_pad}, DType::kF32);
  act.logits = layout.Take({rows, config.vocab_size}, DType::kF32);
  act.slot_tokens = layout.Take({limits.num_slots}, DType::kI32);
  act.sampled = layout.Take({rows}, DType::kI32);
  act.logprobs = layout.Take({rows}, DType::kF32);
  act.top_tokens = layout.Take({rows, limits.top_logprobs_max}, DType::kI32);
  act.top_logprobs = layout.Take({rows, limits.top_logprobs_max}, DType::kF32);
  act.inv_freq = layout.Take({config.head_dim / 2}, DType::kF32);
  act.vocab_offsets = layout.Take({shard.size + 1}, DType::kI32);
  PlaceSelection(config, shard, limits, dtype, layout, act.selection);
}

// Where each rank's slice of the vocabulary begins, and the end of the last.
std::vector<int32_t> VocabOffsets(const ModelConfig& config, int num_ranks) {
  std::vector<int32_t> offsets;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const ModelShard shard = ShardModel(config.num_q_heads, config.num_kv_heads, config.ffn_size,
                                        config.vocab_size, rank, num_ranks);
    offsets.push_back(static_cast<int32_t>(shard.vocab.begin));
  }
  offsets.push_back(static_cast<int32_t>(config.vocab_size));
  return offsets;
}

}  // namespace

size_t ActivationBytes(const ModelConfig& config, const ModelShard& shard, DType dtype,
                       const StepLimits& limits) {
  Layout layout(nullptr);
  Activations unused;
  Place(config, shard, dtype, limits, layout, unused);
  return layout.bytes();
}

size_t ScratchBytes(const ModelConfig& config, const ModelShard& shard, DType dtype,
                    DeviceKind device, const StepLimits& limits) {
  const int64_t q_heads_local = shard.heads.q_heads.count;
  const int64_t kv_heads_local = shard.heads.kv_heads.count;
  ScratchLimits scratch;
  scratch.dtype = dtype;
  scratch.num_tokens_max = limits.num_tokens_max;
  scratch.num_seqs_max = std::max(limits.num_slots, limits.logit_rows_max);
  scratch.inner_max =
      std::max({config.hidden_size, q_heads_local * config.head_dim, shard.ffn.count});
  scratch.outer_max =
      std::max({config.hidden_size, (q_heads_local + 2 * kv_heads_local) * config.head_dim,
                2 * shard.ffn.count, shard.vocab.count});
  scratch.q_heads_local = q_heads_local;
  scratch.kv_heads_local = kv_heads_local;
  scratch.head_dim = config.head_dim;
  scratch.context_len_max = limits.context_len_max;
  scratch.k_max = limits.selection.k_max;
  scratch.num_ranks = shard.size;
  scratch.vocab = config.vocab_size;
  return OpScratchBytes(device, scratch);
}

Activations AllocateActivations(const ModelConfig& config, const ModelShard& shard, DType dtype,
                                DeviceKind device, const StepLimits& limits) {
  CHECK_LE(limits.top_logprobs_max, config.vocab_size) << "most likely tokens of a vocabulary";
  Activations act;
  act.buffer =
      Buffer(MemoryOf(device), ActivationBytes(config, shard, dtype, limits), "activations");
  Layout layout(&act.buffer);
  Place(config, shard, dtype, limits, layout, act);

  const std::vector<float> inv_freq = InverseFrequencies(config);
  const std::vector<int32_t> offsets = VocabOffsets(config, shard.size);
  const Stream stream = device == DeviceKind::kCpu ? Stream::Cpu() : Stream::Cuda();
  CopyBytes(act.inv_freq.data, device, inv_freq.data(), DeviceKind::kCpu, act.inv_freq.bytes(),
            stream);
  CopyBytes(act.vocab_offsets.data, device, offsets.data(), DeviceKind::kCpu,
            act.vocab_offsets.bytes(), stream);
  std::vector<float> zeros;  // outlives the copy
  if (act.selection.zeros.data != nullptr) {
    zeros.assign(static_cast<size_t>(act.selection.zeros.elements()), 0.0f);
    CopyBytes(act.selection.zeros.data, device, zeros.data(), DeviceKind::kCpu,
              act.selection.zeros.bytes(), stream);
  }
  stream.Synchronize();
  return act;
}

}  // namespace tamis
