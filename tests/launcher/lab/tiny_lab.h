// SPDX-License-Identifier: Apache-2.0
// A lab with a random model of four layers on the CPU.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "launcher/lab/lab.h"
#include "tests/runtime/model/model_harness.h"

namespace tamis {

constexpr int64_t kVocab = 50;
constexpr int64_t kLayers = 4;

inline ModelConfig TinyModel() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = 24;
  config.num_layers = kLayers;
  config.num_q_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.ffn_size = 40;
  config.vocab_size = kVocab;
  config.max_positions = 256;
  return config;
}

inline std::unique_ptr<Lab> MakeLab() {
  const ModelConfig config = TinyModel();
  return std::make_unique<Lab>(config, DummyWeights(config, ShardOf(config, 0, 1), 3),
                               LabLimits{200, 120, 8, 32}, DeviceKind::kCpu);
}

inline std::vector<int32_t> Tokens(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % kVocab);
  return tokens;
}

}  // namespace tamis
