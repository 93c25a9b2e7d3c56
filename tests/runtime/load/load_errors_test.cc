// SPDX-License-Identifier: Apache-2.0
// Files that do not make a model: each gives one error that names file, tensor or field, and
// reason.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "gtest/gtest.h"
#include "runtime/load/load_model.h"
#include "runtime/load/safetensors.h"
#include "tests/runtime/load/file_builders.h"
#include "tests/runtime/load/status_matchers.h"

namespace tamis {
namespace {

using absl::StatusCode;
using nlohmann::json;

absl::StatusOr<std::unique_ptr<ModelFiles>> Open(const std::string& path,
                                                 LoadFormat format = LoadFormat::kAuto) {
  return OpenModel(path, format, 1);
}

// The tiny model's safetensors as header and data, to be changed and put together again.
struct TinyTensors {
  TinyTensors() {
    const std::string file = ReadFile(FixturePath("tiny/model.safetensors"));
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
    header = json::parse(file.substr(8, header_bytes));
    data = file.substr(8 + header_bytes);
  }
  std::string Bytes() const { return SafetensorsBytes(header.dump(), data); }
  json header;
  std::string data;
};

// A directory with the tiny model's config and the given weights.
class HfErrors : public testing::Test {
 protected:
  HfErrors() { dir_.Write("config.json", ReadFile(FixturePath("tiny/config.json"))); }
  absl::StatusOr<std::unique_ptr<ModelFiles>> OpenWith(const TinyTensors& tensors) {
    dir_.Write("model.safetensors", tensors.Bytes());
    return Open(dir_.path());
  }
  void SetConfig(const char* field, const json& value) {
    json config = json::parse(ReadFile(FixturePath("tiny/config.json")));
    config[field] = value;
    dir_.Write("config.json", config.dump());
  }
  ScratchDir dir_;
};

constexpr char kQProj[] = "model.layers.1.self_attn.q_proj.weight";

TEST(OpenModelErrors, PathAndFormatMustFit) {
  const ScratchDir dir;
  ExpectError(Open(dir.path() + "/absent"), StatusCode::kNotFound, {"absent: no such file"});
  ExpectError(Open(dir.path()), StatusCode::kNotFound, {"config.json"});
  ExpectError(Open(dir.Write("notes.txt", "some text that is no model")),
              StatusCode::kInvalidArgument, {"notes.txt: not a GGUF file"});
  ExpectError(Open(dir.path(), LoadFormat::kGguf), StatusCode::kInvalidArgument, {"a directory"});
  ExpectError(Open(FixturePath("tiny.gguf"), LoadFormat::kSafetensors),
              StatusCode::kInvalidArgument, {"not a directory"});
  ExpectError(Open(dir.path(), LoadFormat::kDummy), StatusCode::kNotFound, {"config.json"});
}

TEST_F(HfErrors, WeightsMissing) {
  ExpectError(Open(dir_.path()), StatusCode::kNotFound, {"model.safetensors"});
}

TEST_F(HfErrors, ConfigBroken) {
  dir_.Write("config.json", "{\"hidden_size\": ");
  ExpectError(OpenWith({}), StatusCode::kDataLoss, {"config.json: not a JSON object"});
  dir_.Write("config.json", "{\"eos_token_id\": " + std::string(300'000, '[') + "2" +
                                std::string(300'000, ']') + "}");
  ExpectError(OpenWith({}), StatusCode::kDataLoss, {"config.json: nests deeper than 64 levels"});
  SetConfig("sliding_window", 128);
  ExpectError(OpenWith({}), StatusCode::kInvalidArgument, {"config.json", "sliding_window"});
}

TEST_F(HfErrors, GenerationConfigBroken) {
  dir_.Write("generation_config.json", "nonsense");
  ExpectError(OpenWith({}), StatusCode::kDataLoss, {"generation_config.json"});
}

TEST_F(HfErrors, TensorMissing) {
  TinyTensors tensors;
  tensors.header["model.layers.1.self_attn.p_proj.weight"] = tensors.header[kQProj];
  tensors.header.erase(kQProj);
  ExpectError(OpenWith(tensors), StatusCode::kInvalidArgument, {dir_.path(), kQProj, "is missing"});
}

TEST_F(HfErrors, ShapeMismatch) {
  TinyTensors tensors;
  tensors.header[kQProj]["shape"] = {24, 48};
  ExpectError(OpenWith(tensors), StatusCode::kInvalidArgument,
              {"model.safetensors", kQProj, "[24, 48]", "[48, 24]", "config.json"});
  SetConfig("num_hidden_layers", 3);
  ExpectError(OpenWith({}), StatusCode::kInvalidArgument, {"model.layers.2.", "is missing"});
}

TEST_F(HfErrors, FewerLayersThanTheFile) {
  SetConfig("num_hidden_layers", 1);
  ExpectError(OpenWith({}), StatusCode::kInvalidArgument,
              {"model.safetensors", "model.layers.1.", "not part of"});
}

TEST_F(HfErrors, DTypeUnsupported) {
  TinyTensors tensors;
  tensors.header[kQProj]["dtype"] = "I16";
  ExpectError(OpenWith(tensors), StatusCode::kInvalidArgument, {kQProj, "I16", "not supported"});
}

TEST_F(HfErrors, UnknownTensorsAreRefused) {
  TinyTensors tensors;
  const size_t end = tensors.data.size();
  tensors.header["model.layers.0.self_attn.q_proj.bias"] = {
      {"dtype", "F16"}, {"shape", {48}}, {"data_offsets", {end, end + 96}}};
  tensors.data += std::string(96, '\0');
  ExpectError(OpenWith(tensors), StatusCode::kInvalidArgument, {"q_proj.bias", "not part of"});
}

TEST_F(HfErrors, Truncated) {
  TinyTensors tensors;
  tensors.data.resize(tensors.data.size() - 1);
  ExpectError(OpenWith(tensors), StatusCode::kDataLoss, {"model.safetensors", "truncated"});
}

TEST_F(HfErrors, RotaryFrequenciesAndATiedHeadAreIgnored) {
  TinyTensors tensors;
  const size_t end = tensors.data.size();
  tensors.header["model.layers.0.self_attn.rotary_emb.inv_freq"] = {
      {"dtype", "F32"}, {"shape", {4}}, {"data_offsets", {end, end + 16}}};
  tensors.data += std::string(16, '\0');
  ASSERT_OK(OpenWith(tensors));
  SetConfig("tie_word_embeddings", true);
  const auto tied = OpenWith(tensors);
  ASSERT_OK(tied);
  const ModelConfig& config = (*tied)->config();
  const ModelShard shard = ShardModel(6, 3, 20, 37, 0, 1);
  ModelWeights weights = AllocateWeights(config, shard, DType::kF32, DeviceKind::kCpu);
  ASSERT_OK((*tied)->Load(shard, weights, nullptr));
  EXPECT_EQ(weights.lm_head.data, weights.embedding.data);
}

// The tiny model in two files with an index.
class ShardedErrors : public HfErrors {
 protected:
  ShardedErrors() {
    const TinyTensors whole;
    for (const auto& [name, entry] : whole.header.items()) {
      if (name == "__metadata__") continue;
      const int part = name.find("layers.1.") != std::string::npos ? 1 : 0;
      const size_t begin = entry["data_offsets"][0];
      const size_t bytes = entry["data_offsets"][1].get<size_t>() - begin;
      parts_[part].data.append(whole.data, begin, bytes);
      json moved = entry;
      moved["data_offsets"] = {parts_[part].data.size() - bytes, parts_[part].data.size()};
      parts_[part].header[name] = moved;
      weight_map_[name] = part == 0 ? "one.safetensors" : "two.safetensors";
    }
  }
  struct Part {
    json header;
    std::string data;
  };
  absl::StatusOr<std::unique_ptr<ModelFiles>> OpenParts() {
    dir_.Write("one.safetensors", SafetensorsBytes(parts_[0].header.dump(), parts_[0].data));
    dir_.Write("two.safetensors", SafetensorsBytes(parts_[1].header.dump(), parts_[1].data));
    dir_.Write("model.safetensors.index.json", json{{"weight_map", weight_map_}}.dump());
    return Open(dir_.path());
  }
  Part parts_[2];
  json weight_map_;
};

TEST_F(ShardedErrors, AWholeOneEqualsTheSingleFile) {
  const auto parts = OpenParts();
  ASSERT_OK(parts);
  const auto single = Open(FixturePath("tiny"));
  ASSERT_OK(single);
  const ModelShard shard = ShardModel(6, 3, 20, 37, 1, 2);
  ModelWeights a = AllocateWeights((*parts)->config(), shard, DType::kF32, DeviceKind::kCpu);
  ModelWeights b = AllocateWeights((*single)->config(), shard, DType::kF32, DeviceKind::kCpu);
  std::memset(a.buffer.data(), 1, a.buffer.bytes());
  std::memset(b.buffer.data(), 1, b.buffer.bytes());
  ASSERT_OK((*parts)->Load(shard, a, nullptr));
  ASSERT_OK((*single)->Load(shard, b, nullptr));
  EXPECT_EQ(std::memcmp(a.buffer.data(), b.buffer.data(), a.buffer.bytes()), 0);
}

TEST_F(ShardedErrors, AFileOfTheIndexIsMissing) {
  weight_map_[kQProj] = "three.safetensors";
  ExpectError(OpenParts(), StatusCode::kNotFound, {"three.safetensors"});
}

TEST_F(ShardedErrors, TheIndexNamesATensorThatIsNotThere) {
  weight_map_["model.layers.9.mlp.up_proj.weight"] = "two.safetensors";
  ExpectError(OpenParts(), StatusCode::kInvalidArgument,
              {"two.safetensors", "model.layers.9.mlp.up_proj.weight", "is missing"});
}

TEST_F(ShardedErrors, ATensorIsInTwoFiles) {
  Part& one = parts_[0];
  json copy = parts_[1].header[kQProj];
  const size_t bytes =
      copy["data_offsets"][1].get<size_t>() - copy["data_offsets"][0].get<size_t>();
  copy["data_offsets"] = {one.data.size(), one.data.size() + bytes};
  one.header[kQProj] = copy;
  one.data += std::string(bytes, '\0');
  ExpectError(OpenParts(), StatusCode::kInvalidArgument, {kQProj, "in another file too"});
}

TEST_F(ShardedErrors, TheIndexIsBroken) {
  ASSERT_OK(OpenParts());
  const std::string name = "model.safetensors.index.json";
  dir_.Write(name, "{}");
  ExpectError(Open(dir_.path()), StatusCode::kDataLoss, {name, "weight_map"});
  dir_.Write(name, R"({"weight_map": {"a": "../secret.safetensors"}})");
  ExpectError(Open(dir_.path()), StatusCode::kInvalidArgument, {name, "\"a\"", "file name"});
  dir_.Write(name, R"({"weight_map": {"a": 3}})");
  ExpectError(Open(dir_.path()), StatusCode::kInvalidArgument, {name, "\"a\"", "file name"});
}

// A GGUF model of one layer whose every part can be replaced. Sizes: H 4, heads 1, D 4, F 4, V 3.
GgufBuilder OneLayer(const std::string& replaced_key = "", const std::string& skipped_tensor = "",
                     uint32_t type = 0) {
  GgufBuilder builder;
  const auto u32 = [&](const std::string& key, uint32_t value) {
    if (key != replaced_key) builder.Key(key, kGgufU32, Raw(value));
  };
  if (replaced_key != "general.architecture") {
    builder.Key("general.architecture", kGgufString, GgufString("llama"));
  }
  u32("llama.embedding_length", 4);
  u32("llama.block_count", 1);
  u32("llama.attention.head_count", 1);
  u32("llama.feed_forward_length", 4);
  u32("llama.vocab_size", 3);
  u32("llama.context_length", 16);
  if (replaced_key != "llama.attention.layer_norm_rms_epsilon") {
    builder.Key("llama.attention.layer_norm_rms_epsilon", kGgufF32, Raw(1e-5f));
  }
  const auto tensor = [&](const std::string& name, const std::vector<uint64_t>& sizes) {
    if (name == skipped_tensor) return;
    uint64_t elements = 1;
    for (uint64_t size : sizes) elements *= size;
    builder.Tensor(name, sizes, sizes.size() == 2 ? type : 0, std::string(elements * 4, '\0'));
  };
  tensor("token_embd.weight", {4, 3});
  tensor("output_norm.weight", {4});
  tensor("blk.0.attn_norm.weight", {4});
  tensor("blk.0.ffn_norm.weight", {4});
  for (const char* name :
       {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
    tensor("blk.0." + std::string(name) + ".weight", {4, 4});
  }
  return builder;
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGguf(const GgufBuilder& builder) {
  const ScratchDir dir;  // the mapping outlives the name
  return Open(dir.Write("m.gguf", builder.Bytes()));
}

TEST(GgufModel, DefaultsAndTiedHead) {
  const auto files = OpenGguf(OneLayer());
  ASSERT_OK(files);
  const ModelConfig& config = (*files)->config();
  EXPECT_EQ(config.num_kv_heads, 1);
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ((*files)->stored_dtype(), DType::kF32);
}

TEST(GgufModel, VocabularyFromTheTokenList) {
  GgufBuilder builder = OneLayer("llama.vocab_size");
  ExpectError(OpenGguf(builder), StatusCode::kNotFound, {"tokenizer.ggml.tokens"});
  builder.Array("tokenizer.ggml.tokens", kGgufString, 3,
                GgufString("a") + GgufString("b") + GgufString("c"));
  ASSERT_OK(OpenGguf(builder));
}

TEST(GgufModel, RopeScaling) {
  GgufBuilder linear = OneLayer();
  linear.Key("llama.rope.scaling.type", kGgufString, GgufString("linear"))
      .Key("llama.rope.scaling.factor", kGgufF32, Raw(4.0f));
  auto files = OpenGguf(linear);
  ASSERT_OK(files);
  EXPECT_EQ((*files)->config().rope.scaling, RopeConfig::Scaling::kLinear);
  EXPECT_EQ((*files)->config().rope.factor, 4.0);
  GgufBuilder divisors = OneLayer();
  divisors.Tensor("rope_freqs.weight", {2}, 0, Raw(1.0f) + Raw(8.0f));
  files = OpenGguf(divisors);
  ASSERT_OK(files);
  EXPECT_THAT((*files)->config().rope.frequency_divisors, testing::ElementsAre(1.0f, 8.0f));
  EXPECT_FLOAT_EQ(InverseFrequencies((*files)->config())[1], 0.01f / 8.0f);
}

TEST(GgufErrors, MissingParts) {
  for (const char* key : {"general.architecture", "llama.embedding_length", "llama.block_count",
                          "llama.attention.head_count", "llama.feed_forward_length",
                          "llama.context_length", "llama.attention.layer_norm_rms_epsilon"}) {
    ExpectError(OpenGguf(OneLayer(key)), StatusCode::kNotFound, {"m.gguf", key, "missing"});
  }
  for (const char* tensor : {"token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight"}) {
    ExpectError(OpenGguf(OneLayer("", tensor)), StatusCode::kInvalidArgument,
                {"m.gguf", tensor, "missing"});
  }
}

TEST(GgufErrors, RefusedByName) {
  const auto replaced = [](const std::string& key, uint32_t type, const std::string& value) {
    return OneLayer(key).Key(key, type, value);
  };
  const auto u32 = [&](const std::string& key, uint32_t value) {
    return replaced(key, kGgufU32, Raw(value));
  };
  const struct {
    GgufBuilder builder;
    const char* part;
  } kRefused[] = {
      {replaced("general.architecture", kGgufString, GgufString("gemma")), "gemma"},
      {u32("llama.expert_count", 8), "llama.expert_count"},
      {u32("split.count", 2), "split.count"},
      {u32("llama.attention.sliding_window", 128), "sliding_window"},
      {u32("llama.attention.head_count", 0), "llama.attention.head_count"},
      {u32("llama.rope.dimension_count", 2)
           .Key("llama.attention.key_length", kGgufU32, Raw<uint32_t>(4)),
       "llama.rope.dimension_count"},
      {u32("llama.attention.value_length", 2), "llama.attention.value_length"},
      {u32("llama.block_count", 0), "num_layers"},
      {u32("llama.block_count", 4000000000), "num_layers"},
      {u32("llama.vocab_size", 4), "shape [3, 4]"},
      {u32("tokenizer.ggml.eos_token_id", 3), "tokenizer.ggml.eos_token_id"},
      {u32("tokenizer.ggml.bos_token_id", 4000000000), "tokenizer.ggml.bos_token_id"},
      {replaced("llama.rope.scaling.type", kGgufString, GgufString("yarn")), "yarn"},
      {OneLayer().Tensor("rope_freqs.weight", {3}, 0, std::string(12, '\0')), "rope_freqs.weight"},
      {OneLayer().Tensor("rope_freqs.weight", {2}, 1, std::string(4, '\0')), "F16"},
      {OneLayer().Tensor("rope_freqs.weight", {2}, 0, std::string(8, '\0')), "divisors"},
      {OneLayer().Tensor("blk.0.attn_q.bias", {4}, 0, std::string(16, '\0')), "attn_q.bias"},
      {OneLayer("", "", 12), "Q4_K"},
      {OneLayer("", "", 77), "type 77"},
  };
  for (const auto& refused : kRefused) {
    ExpectError(OpenGguf(refused.builder), StatusCode::kInvalidArgument, {"m.gguf", refused.part});
  }
}

}  // namespace
}  // namespace tamis
