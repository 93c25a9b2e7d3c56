// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/model_shapes.h"

#include <map>

namespace tamis {
namespace {

// What the 8B and the 70B model share.
ModelConfig Llama3() {
  ModelConfig config;
  config.architecture = "llama";
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.vocab_size = 128256;
  config.max_positions = int64_t{1} << 22;
  config.norm_eps = 1e-5f;
  config.rope.theta = 500000.0;
  config.rope.scaling = RopeConfig::Scaling::kLlama3;
  config.rope.factor = 8.0;
  config.eos_token_ids = {128001};
  config.bos_token_id = 128000;
  return config;
}

std::map<std::string, ModelConfig> MakeShapes() {
  ModelConfig small = Llama3();
  small.hidden_size = 4096;
  small.num_layers = 32;
  small.num_q_heads = 32;
  small.ffn_size = 14336;
  ModelConfig large = Llama3();
  large.hidden_size = 8192;
  large.num_layers = 80;
  large.num_q_heads = 64;
  large.ffn_size = 28672;
  return {{"llama-3-8b", small}, {"llama-3-70b", large}};
}

const std::map<std::string, ModelConfig>& Shapes() {
  static const std::map<std::string, ModelConfig> shapes = MakeShapes();
  return shapes;
}

}  // namespace

const ModelConfig* ModelShape(const std::string& name) {
  const auto found = Shapes().find(name);
  return found == Shapes().end() ? nullptr : &found->second;
}

std::vector<std::string> ModelShapeNames() {
  std::vector<std::string> names;
  for (const auto& [name, config] : Shapes()) names.push_back(name);
  return names;
}

}  // namespace tamis
