// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/config.h"

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tamis {
namespace {

using testing::HasSubstr;

ModelConfig Good() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = 256;
  config.num_layers = 2;
  config.num_q_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 64;
  config.ffn_size = 512;
  config.vocab_size = 1000;
  config.max_positions = 131072;
  return config;
}

TEST(ModelConfig, ProblemsNameTheField) {
  EXPECT_EQ(ModelConfigProblem(Good()), "");
  EXPECT_EQ(UnsupportedFeature(Good()), "");
  using Change = std::function<void(ModelConfig&)>;
  const std::pair<const char*, Change> kBad[] = {
      {"architecture", [](ModelConfig& c) { c.architecture = "bert"; }},
      {"hidden_size is 0", [](ModelConfig& c) { c.hidden_size = 0; }},
      {"num_layers", [](ModelConfig& c) { c.num_layers = -1; }},
      {"num_q_heads", [](ModelConfig& c) { c.num_q_heads = 0; }},
      {"num_q_heads is 5", [](ModelConfig& c) { c.num_q_heads = 5; }},
      {"num_kv_heads", [](ModelConfig& c) { c.num_kv_heads = 0; }},
      {"head_dim is 63", [](ModelConfig& c) { c.head_dim = 63; }},
      {"head_dim", [](ModelConfig& c) { c.head_dim = int64_t{1} << 40; }},
      {"head_dim is 514; it must be between 1 and 512", [](ModelConfig& c) { c.head_dim = 514; }},
      {"ffn_size", [](ModelConfig& c) { c.ffn_size = std::numeric_limits<int64_t>::max(); }},
      {"vocab_size", [](ModelConfig& c) { c.vocab_size = 0; }},
      {"max_positions", [](ModelConfig& c) { c.max_positions = 0; }},
      {"norm_eps", [](ModelConfig& c) { c.norm_eps = 0.0f; }},
      {"norm_eps", [](ModelConfig& c) { c.norm_eps = std::numeric_limits<float>::infinity(); }},
      {"rope.theta", [](ModelConfig& c) { c.rope.theta = 0; }},
      {"rope.factor", [](ModelConfig& c) { c.rope.factor = -1; }},
      {"rope.high_freq_factor",
       [](ModelConfig& c) {
         c.rope.scaling = RopeConfig::Scaling::kLlama3;
         c.rope.high_freq_factor = c.rope.low_freq_factor;
       }},
      {"rope.original_max_positions",
       [](ModelConfig& c) {
         c.rope.scaling = RopeConfig::Scaling::kLlama3;
         c.rope.original_max_positions = 0;
       }},
      {"rope.frequency_divisors", [](ModelConfig& c) { c.rope.frequency_divisors = {1.0f}; }},
      {"rope.frequency_divisors",
       [](ModelConfig& c) { c.rope.frequency_divisors.assign(32, 0.0f); }},
      {"eos_token_ids is 1000",
       [](ModelConfig& c) {
         c.eos_token_ids = {5, 1000};
       }},
      {"bos_token_id", [](ModelConfig& c) { c.bos_token_id = -2; }},
      {"sliding_window", [](ModelConfig& c) { c.sliding_window = -1; }},
  };
  for (const auto& [part, change] : kBad) {
    ModelConfig config = Good();
    change(config);
    EXPECT_THAT(ModelConfigProblem(config), HasSubstr(part));
  }
}

TEST(ModelConfig, UnsupportedFeaturesAreNamed) {
  ModelConfig config = Good();
  config.sliding_window = 128;
  EXPECT_EQ(UnsupportedFeature(config), "sliding_window");
  config = Good();
  config.attention_bias = true;
  EXPECT_EQ(UnsupportedFeature(config), "attention_bias");
  config = Good();
  config.mlp_bias = true;
  EXPECT_EQ(UnsupportedFeature(config), "mlp_bias");
  config = Good();
  config.query_key_norm = true;
  EXPECT_EQ(UnsupportedFeature(config), "query_key_norm");
}

// Expected values: transformers' own functions, which compute in float32; hence five parts in 10^6
// where a power with a large exponent is involved.
void ExpectNear(const std::vector<float>& got, const std::vector<std::pair<size_t, float>>& want) {
  ASSERT_EQ(got.size(), 32u);
  for (const auto& [i, value] : want) EXPECT_NEAR(got[i], value, 5e-6f * value) << i;
}

TEST(InverseFrequencies, Plain) {
  ModelConfig config = Good();
  ExpectNear(InverseFrequencies(config), {{0, 1.0f}, {8, 0.1f}, {16, 0.01f}, {24, 0.001f}});
}

TEST(InverseFrequencies, Linear) {
  ModelConfig config = Good();
  config.rope.scaling = RopeConfig::Scaling::kLinear;
  config.rope.factor = 4.0;
  ExpectNear(InverseFrequencies(config),
             {{0, 0.25f}, {1, 0.18747355f}, {16, 0.00249999994f}, {31, 3.33380376e-05f}});
}

TEST(InverseFrequencies, Llama3) {
  ModelConfig config = Good();
  config.rope.theta = 500000.0;
  config.rope.scaling = RopeConfig::Scaling::kLlama3;
  config.rope.factor = 32.0;
  config.rope.low_freq_factor = 1.0;
  config.rope.high_freq_factor = 4.0;
  config.rope.original_max_positions = 8192;
  // 14 is the last that stays, 15 to 17 are blended, 18 the first that is divided.
  ExpectNear(InverseFrequencies(config), {{0, 1.0f},
                                          {1, 0.663601279f},
                                          {14, 0.00321144611f},
                                          {15, 0.00129054801f},
                                          {16, 0.000429556705f},
                                          {17, 9.70828623e-05f},
                                          {18, 1.94616387e-05f},
                                          {31, 9.41830649e-08f}});
}

TEST(InverseFrequencies, Divisors) {
  ModelConfig config = Good();
  config.rope.frequency_divisors.assign(32, 1.0f);
  config.rope.frequency_divisors[8] = 32.0f;
  ExpectNear(InverseFrequencies(config), {{0, 1.0f}, {8, 0.1f / 32.0f}, {16, 0.01f}});
}

}  // namespace
}  // namespace tamis
