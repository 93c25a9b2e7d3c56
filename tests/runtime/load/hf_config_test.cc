// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/hf_config.h"

#include <nlohmann/json.hpp>
#include <string>

#include "gtest/gtest.h"
#include "runtime/load/checkpoint.h"
#include "tests/runtime/load/status_matchers.h"

namespace tamis {
namespace {

using absl::StatusCode;
using nlohmann::json;
using testing::ElementsAre;

json BaseConfig() {
  return json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 100, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "hidden_act": "silu"})");
}

// The base config with some fields replaced; a field set to "(gone)" is removed.
std::string With(const json& changes) {
  json config = BaseConfig();
  for (const auto& [key, value] : changes.items()) {
    if (value == "(gone)") {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return config.dump();
}

// What OpenModel does with a config: parse, then check.
absl::StatusOr<HfConfig> ParseAndCheck(const json& changes) {
  absl::StatusOr<HfConfig> config = ParseHfConfig(With(changes), "d/config.json");
  if (config.ok()) {
    const absl::Status status = CheckConfig(config->model, "d/config.json");
    if (!status.ok()) return status;
  }
  return config;
}

TEST(HfConfig, SizesAndDefaults) {
  const auto config = ParseAndCheck({});
  ASSERT_OK(config);
  const ModelConfig& model = config->model;
  EXPECT_EQ(model.architecture, "llama");
  EXPECT_EQ(model.hidden_size, 64);
  EXPECT_EQ(model.num_layers, 2);
  EXPECT_EQ(model.num_q_heads, 4);
  EXPECT_EQ(model.num_kv_heads, 2);
  EXPECT_EQ(model.head_dim, 16);  // derived
  EXPECT_EQ(model.ffn_size, 96);
  EXPECT_EQ(model.vocab_size, 100);
  EXPECT_EQ(model.max_positions, 2048);
  EXPECT_FLOAT_EQ(model.norm_eps, 1e-5f);
  EXPECT_EQ(model.rope.theta, 10000.0);
  EXPECT_EQ(model.rope.scaling, RopeConfig::Scaling::kNone);
  EXPECT_FALSE(model.tied_embeddings);
  EXPECT_TRUE(model.eos_token_ids.empty());
  EXPECT_EQ(model.bos_token_id, -1);
  EXPECT_EQ(config->dtype, DType::kF32);
}

TEST(HfConfig, OptionalFields) {
  const auto config = ParseAndCheck({{"head_dim", 32},
                                     {"num_key_value_heads", "(gone)"},
                                     {"tie_word_embeddings", true},
                                     {"rope_theta", 500000},
                                     {"rope_scaling", nullptr},
                                     {"bos_token_id", 7},
                                     {"eos_token_id", {8, 9}},
                                     {"torch_dtype", "bfloat16"},
                                     {"attention_bias", false},
                                     {"sliding_window", nullptr}});
  ASSERT_OK(config);
  EXPECT_EQ(config->model.head_dim, 32);
  EXPECT_EQ(config->model.num_kv_heads, 4);
  EXPECT_TRUE(config->model.tied_embeddings);
  EXPECT_EQ(config->model.rope.theta, 500000.0);
  EXPECT_EQ(config->model.bos_token_id, 7);
  EXPECT_THAT(config->model.eos_token_ids, ElementsAre(8, 9));
  EXPECT_EQ(config->dtype, DType::kBF16);
  EXPECT_EQ(ParseAndCheck({{"dtype", "float16"}})->dtype, DType::kF16);
}

TEST(HfConfig, RopeScalingInBothForms) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  json parameters = llama3;
  parameters["rope_theta"] = 500000.0;
  for (const json& changes : {json{{"rope_theta", 500000.0}, {"rope_scaling", llama3}},
                              json{{"rope_parameters", parameters}}}) {
    const auto config = ParseAndCheck(changes);
    ASSERT_OK(config);
    const RopeConfig& rope = config->model.rope;
    EXPECT_EQ(rope.scaling, RopeConfig::Scaling::kLlama3);
    EXPECT_EQ(rope.theta, 500000.0);
    EXPECT_EQ(rope.factor, 32.0);
    EXPECT_EQ(rope.low_freq_factor, 1.0);
    EXPECT_EQ(rope.high_freq_factor, 4.0);
    EXPECT_EQ(rope.original_max_positions, 8192);
  }
  const auto linear = ParseAndCheck({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
  ASSERT_OK(linear);
  EXPECT_EQ(linear->model.rope.scaling, RopeConfig::Scaling::kLinear);
  EXPECT_EQ(linear->model.rope.factor, 2.0);
  const auto plain =
      ParseAndCheck({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 12345.0}}}});
  ASSERT_OK(plain);
  EXPECT_EQ(plain->model.rope.scaling, RopeConfig::Scaling::kNone);
  EXPECT_EQ(plain->model.rope.theta, 12345.0);
}

TEST(HfConfig, MistralWithoutAWindowIsALlama) {
  const json mistral = {"MistralForCausalLM"};
  ASSERT_OK(ParseAndCheck({{"architectures", mistral}, {"sliding_window", nullptr}}));
  ExpectError(ParseAndCheck({{"architectures", mistral}, {"sliding_window", 4096}}),
              StatusCode::kInvalidArgument, {"sliding_window"});
  // Left out, the field means 4096 in this family.
  ExpectError(ParseAndCheck({{"architectures", mistral}}), StatusCode::kInvalidArgument,
              {"sliding_window"});
  ASSERT_OK(ParseAndCheck({{"architectures", "(gone)"}}));  // model_type decides
}

TEST(HfConfig, GenerationConfigAddsEosIds) {
  ModelConfig config;
  config.eos_token_ids = {2};
  ASSERT_OK(AddGenerationConfig(R"({"eos_token_id": [5, 2, 7]})", "g.json", &config));
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 5, 7));
  ASSERT_OK(AddGenerationConfig(R"({"eos_token_id": 9})", "g.json", &config));
  ASSERT_OK(AddGenerationConfig("{}", "g.json", &config));
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 5, 7, 9));
  ExpectError(AddGenerationConfig("[", "g.json", &config), StatusCode::kDataLoss, {"g.json"});
  ExpectError(AddGenerationConfig(R"({"eos_token_id": ["x"]})", "g.json", &config),
              StatusCode::kInvalidArgument, {"g.json", "eos_token_id"});
}

TEST(HfConfig, WhatCannotBeServedIsRefusedByName) {
  const struct {
    json changes;
    const char* part;
  } kRefused[] = {
      {{{"architectures", {"Qwen2ForCausalLM"}}}, "Qwen2ForCausalLM"},
      {{{"architectures", json::array()}}, "architectures"},
      {{{"architectures", "(gone)"}, {"model_type", "gemma"}}, "gemma"},
      {{{"quantization_config", {{"quant_method", "gptq"}}}}, "quantization_config"},
      {{{"attention_bias", true}}, "attention_bias"},
      {{{"mlp_bias", true}}, "mlp_bias"},
      {{{"sliding_window", 4096}}, "sliding_window"},
      {{{"hidden_act", "gelu"}}, "gelu"},
      {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor"},
      {{{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}}}, "yarn"},
      {{{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 4.0}}}}, "low_freq_factor"},
      {{{"rope_scaling", {{"type", "linear"}}}}, "rope_scaling.factor"},
      {{{"rope_scaling", 3}}, "rope_scaling"},
      {{{"torch_dtype", "int8"}}, "int8"},
      {{{"hidden_size", "(gone)"}}, "\"hidden_size\" is missing"},
      {{{"hidden_size", "64"}}, "\"hidden_size\" must be an integer"},
      {{{"hidden_size", 64.5}}, "\"hidden_size\" must be an integer"},
      {{{"hidden_size", 18446744073709551615u}}, "\"hidden_size\" must be an integer"},
      {{{"hidden_size", 66}}, "head_dim"},
      {{{"num_hidden_layers", 0}}, "num_layers is 0"},
      {{{"num_attention_heads", 0}}, "num_attention_heads"},
      {{{"num_attention_heads", -4}}, "num_attention_heads"},
      {{{"num_key_value_heads", 3}}, "num_kv_heads"},
      {{{"head_dim", 15}}, "head_dim is 15"},
      {{{"vocab_size", 1e9}}, "vocab_size"},
      {{{"vocab_size", 1000000000}}, "vocab_size is 1000000000"},
      {{{"rms_norm_eps", 0}}, "norm_eps"},
      {{{"rms_norm_eps", "x"}}, "rms_norm_eps"},
      {{{"rope_theta", -1}}, "rope.theta"},
      {{{"tie_word_embeddings", 1}}, "tie_word_embeddings"},
      {{{"eos_token_id", 100}}, "eos_token_ids is 100"},
      {{{"eos_token_id", -1}}, "eos_token_id"},
      {{{"bos_token_id", {1, 2}}}, "bos_token_id"},
  };
  for (const auto& refused : kRefused) {
    SCOPED_TRACE(refused.changes.dump());
    ExpectError(ParseAndCheck(refused.changes), StatusCode::kInvalidArgument,
                {"d/config.json: ", refused.part});
  }
  ExpectError(ParseHfConfig("{\"a\": ", "d/config.json"), StatusCode::kDataLoss,
              {"not a JSON object"});
}

}  // namespace
}  // namespace tamis
