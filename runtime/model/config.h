// SPDX-License-Identifier: Apache-2.0
// What a Llama-family model is: its sizes and switches, as plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/tensor.h"

namespace tamis {

// Rotary embedding. With kLlama3 the inverse frequencies are rescaled as in Llama 3.1 ("The Llama
// 3 Herd of Models", section 3.4.3, and its released configuration).
struct RopeConfig {
  enum class Scaling : uint8_t { kNone, kLinear, kLlama3 };
  double theta = 10000.0;
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_positions = 8192;
  // [D / 2] or empty: frequencies are divided by these besides. GGUF files store the Llama 3
  // rescaling in this form.
  std::vector<float> frequency_divisors;
};

struct ModelConfig {
  std::string architecture;   // "llama"
  int64_t hidden_size = 0;    // H
  int64_t num_layers = 0;     // L
  int64_t num_q_heads = 0;    // Nq
  int64_t num_kv_heads = 0;   // Nkv
  int64_t head_dim = 0;       // D
  int64_t ffn_size = 0;       // F
  int64_t vocab_size = 0;     // V
  int64_t max_positions = 0;  // longest context the model was made for
  float norm_eps = 1e-5f;
  RopeConfig rope;
  bool tied_embeddings = false;
  std::vector<int32_t> eos_token_ids;
  int32_t bos_token_id = -1;  // -1 = none

  // Not supported yet: UnsupportedFeature names them, nothing ignores them.
  bool attention_bias = false;
  bool mlp_bias = false;
  bool query_key_norm = false;
  int64_t sliding_window = 0;  // 0 = none
};

// Empty if every size is positive and consistent; else one sentence naming the field, its value
// and what is allowed.
std::string ModelConfigProblem(const ModelConfig& config);

// Empty, or the name of a feature this model needs and Tamis does not have.
std::string UnsupportedFeature(const ModelConfig& config);

// The rotary inverse frequencies, [D / 2], computed in double and rounded once.
std::vector<float> InverseFrequencies(const ModelConfig& config);

}  // namespace tamis
