// SPDX-License-Identifier: Apache-2.0
// GGUF files of the "llama" architecture as a model: metadata to config, names to Hugging Face's.
#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/load/formats.h"
#include "runtime/load/quote.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

constexpr std::string_view kRopeDivisors = "rope_freqs.weight";

template <typename T>
absl::StatusOr<T> OrIfMissing(absl::StatusOr<T> value, T missing) {
  if (absl::IsNotFound(value.status())) return missing;
  return value;
}

absl::Status Unsupported(const GgufFile& file, const char* key, const std::string& value) {
  return absl::InvalidArgumentError(absl::StrCat(file.path(), ": metadata key ", Quoted(key),
                                                 " is ", value, ", which is not supported"));
}

// Everything that changes the computation and has no place in ModelConfig.
absl::Status CheckUnsupported(const GgufFile& file) {
  TAMIS_ASSIGN_OR_RETURN(const std::string architecture, file.GetString("general.architecture"));
  if (architecture != "llama") {
    return Unsupported(file, "general.architecture",
                       absl::StrCat(Quoted(architecture), " (llama is supported)"));
  }
  for (const char* key : {"llama.expert_count", "split.count"}) {
    TAMIS_ASSIGN_OR_RETURN(const uint64_t count, OrIfMissing(file.GetUint(key), uint64_t{0}));
    if (count > 1) return Unsupported(file, key, absl::StrCat(count));
  }
  return absl::OkStatus();
}

absl::Status ReadHeads(const GgufFile& file, ModelConfig* config) {
  TAMIS_ASSIGN_OR_RETURN(config->num_q_heads, file.GetInt("llama.attention.head_count"));
  TAMIS_ASSIGN_OR_RETURN(
      config->num_kv_heads,
      OrIfMissing(file.GetInt("llama.attention.head_count_kv"), config->num_q_heads));
  if (config->num_q_heads < 1) {
    return Unsupported(file, "llama.attention.head_count", absl::StrCat(config->num_q_heads));
  }
  const int64_t even_share = config->hidden_size / config->num_q_heads;
  TAMIS_ASSIGN_OR_RETURN(const int64_t rotated,
                         OrIfMissing(file.GetInt("llama.rope.dimension_count"), even_share));
  TAMIS_ASSIGN_OR_RETURN(config->head_dim,
                         OrIfMissing(file.GetInt("llama.attention.key_length"), rotated));
  TAMIS_ASSIGN_OR_RETURN(
      const int64_t value_length,
      OrIfMissing(file.GetInt("llama.attention.value_length"), config->head_dim));
  if (rotated != config->head_dim) {
    return Unsupported(file, "llama.rope.dimension_count",
                       absl::StrCat(rotated, ", not the head size ", config->head_dim));
  }
  if (value_length != config->head_dim) {
    return Unsupported(file, "llama.attention.value_length",
                       absl::StrCat(value_length, ", not the key length ", config->head_dim));
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const GgufFile& file, ModelConfig* config) {
  RopeConfig& rope = config->rope;
  TAMIS_ASSIGN_OR_RETURN(rope.theta,
                         OrIfMissing(file.GetFloat("llama.rope.freq_base"), rope.theta));
  // The older key alone means linear scaling.
  TAMIS_ASSIGN_OR_RETURN(const double scale_linear,
                         OrIfMissing(file.GetFloat("llama.rope.scale_linear"), 1.0));
  TAMIS_ASSIGN_OR_RETURN(const std::string type,
                         OrIfMissing(file.GetString("llama.rope.scaling.type"),
                                     std::string(scale_linear != 1.0 ? "linear" : "none")));
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::kLinear;
    TAMIS_ASSIGN_OR_RETURN(rope.factor,
                           OrIfMissing(file.GetFloat("llama.rope.scaling.factor"), scale_linear));
  } else if (type != "none") {
    return Unsupported(file, "llama.rope.scaling.type", Quoted(type));
  }
  const GgufTensor* divisors = file.FindTensor(kRopeDivisors);
  if (divisors == nullptr) return absl::OkStatus();
  const std::string origin = absl::StrCat(file.path(), ": tensor ", Quoted(kRopeDivisors));
  if (divisors->type != StoredType::kF32) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, " has type ", GgufTypeName(divisors->type_id), "; it must be F32"));
  }
  if (divisors->sizes != std::vector<int64_t>{config->head_dim / 2}) {
    return absl::InvalidArgumentError(absl::StrCat(
        origin, " has another shape than [head size / 2] = [", config->head_dim / 2, "]"));
  }
  rope.frequency_divisors.resize(static_cast<size_t>(divisors->sizes[0]));
  DecodeRow(StoredType::kF32, divisors->data, {0, divisors->sizes[0]},
            rope.frequency_divisors.data());
  return absl::OkStatus();
}

absl::Status ReadTokens(const GgufFile& file, ModelConfig* config) {
  std::vector<int32_t>& eos = config->eos_token_ids;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id", "tokenizer.ggml.bos_token_id"}) {
    if (!file.Has(key)) continue;
    TAMIS_ASSIGN_OR_RETURN(const uint64_t number, file.GetUint(key));
    if (number >= static_cast<uint64_t>(config->vocab_size)) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": metadata key ", Quoted(key),
                                                     " is ", number, "; the vocabulary has ",
                                                     config->vocab_size, " tokens"));
    }
    const int32_t id = static_cast<int32_t>(number);
    if (std::string_view(key) == "tokenizer.ggml.bos_token_id") {
      config->bos_token_id = id;
    } else if (std::find(eos.begin(), eos.end(), id) == eos.end()) {
      eos.push_back(id);
    }
  }
  return absl::OkStatus();
}

// The file's name of a tensor that Hugging Face calls `name`.
std::string GgufName(std::string_view name) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  static constexpr std::pair<std::string_view, std::string_view> kLayerNames[] = {
      {"input_layernorm.weight", "attn_norm.weight"},
      {"self_attn.q_proj.weight", "attn_q.weight"},
      {"self_attn.k_proj.weight", "attn_k.weight"},
      {"self_attn.v_proj.weight", "attn_v.weight"},
      {"self_attn.o_proj.weight", "attn_output.weight"},
      {"post_attention_layernorm.weight", "ffn_norm.weight"},
      {"mlp.gate_proj.weight", "ffn_gate.weight"},
      {"mlp.up_proj.weight", "ffn_up.weight"},
      {"mlp.down_proj.weight", "ffn_down.weight"}};
  constexpr std::string_view kLayerPrefix = "model.layers.";
  const size_t dot = name.find('.', kLayerPrefix.size());
  const std::string_view within = name.substr(dot + 1);
  for (const auto& [theirs, ours] : kLayerNames) {
    if (within == theirs) {
      return "blk." + std::string(name.substr(kLayerPrefix.size(), dot - kLayerPrefix.size())) +
             "." + std::string(ours);
    }
  }
  Die("no GGUF name for " + std::string(name));
}

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

StoredTensor AsStored(const GgufFile& file, const GgufTensor& tensor) {
  StoredTensor stored;
  stored.origin = absl::StrCat(file.path(), ": tensor ", Quoted(tensor.name));
  stored.sizes = tensor.sizes;
  stored.type_name = GgufTypeName(tensor.type_id);
  stored.type = tensor.type;
  stored.data = tensor.data;
  return stored;
}

}  // namespace

absl::StatusOr<ModelConfig> GgufModelConfig(const GgufFile& file) {
  TAMIS_RETURN_IF_ERROR(CheckUnsupported(file));
  ModelConfig config;
  config.architecture = "llama";
  TAMIS_ASSIGN_OR_RETURN(config.hidden_size, file.GetInt("llama.embedding_length"));
  TAMIS_ASSIGN_OR_RETURN(config.num_layers, file.GetInt("llama.block_count"));
  TAMIS_RETURN_IF_ERROR(ReadHeads(file, &config));
  TAMIS_ASSIGN_OR_RETURN(config.ffn_size, file.GetInt("llama.feed_forward_length"));
  TAMIS_ASSIGN_OR_RETURN(config.max_positions, file.GetInt("llama.context_length"));
  TAMIS_ASSIGN_OR_RETURN(const double eps, file.GetFloat("llama.attention.layer_norm_rms_epsilon"));
  config.norm_eps = static_cast<float>(eps);
  TAMIS_ASSIGN_OR_RETURN(config.sliding_window,
                         OrIfMissing(file.GetInt("llama.attention.sliding_window"), int64_t{0}));
  if (file.Has("llama.vocab_size")) {
    TAMIS_ASSIGN_OR_RETURN(config.vocab_size, file.GetInt("llama.vocab_size"));
  } else {
    TAMIS_ASSIGN_OR_RETURN(const auto tokens, file.GetStringArray("tokenizer.ggml.tokens"));
    config.vocab_size = static_cast<int64_t>(tokens.size());
  }
  config.tied_embeddings = file.FindTensor("output.weight") == nullptr;
  TAMIS_RETURN_IF_ERROR(ReadRope(file, &config));
  TAMIS_RETURN_IF_ERROR(ReadTokens(file, &config));
  return config;
}

absl::StatusOr<std::unique_ptr<ModelFiles>> GgufModel(GgufFile file) {
  const std::string& path = file.path();
  TAMIS_ASSIGN_OR_RETURN(ModelConfig config, GgufModelConfig(file));
  TAMIS_RETURN_IF_ERROR(CheckConfig(config, path));
  std::map<std::string, std::string> hf_names;  // by the file's names
  for (const CheckpointTensor& tensor : CheckpointTensors(config)) {
    hf_names.emplace(GgufName(tensor.name), tensor.name);
  }
  StoredTensors tensors;
  for (const auto& [gguf_name, hf_name] : hf_names) {
    const GgufTensor* tensor = file.FindTensor(gguf_name);
    if (tensor == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", Quoted(gguf_name), " is missing"));
    }
    StoredTensor stored = AsStored(file, *tensor);
    if (EndsWith(gguf_name, ".attn_q.weight") || EndsWith(gguf_name, ".attn_k.weight")) {
      stored.interleaved_head_dim = config.head_dim;
    }
    tensors.emplace(hf_name, std::move(stored));
  }
  for (const GgufTensor& tensor : file.tensors()) {
    // What no name stands for goes in under its own, to be refused.
    if (tensor.name == kRopeDivisors || hf_names.contains(tensor.name)) continue;
    tensors.emplace(tensor.name, AsStored(file, tensor));
  }
  std::vector<MappedFile> files;
  std::optional<MappedFile> mapping = file.TakeMapping();
  if (mapping) files.push_back(*std::move(mapping));
  return MakeCheckpoint(path, path, std::move(config), std::move(tensors), std::move(files));
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGgufModel(const std::string& path) {
  TAMIS_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  return GgufModel(std::move(file));
}

}  // namespace tamis
