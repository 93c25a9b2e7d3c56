// SPDX-License-Identifier: Apache-2.0
// Whole models: what each rank holds after loading, from either format, at every rank count.
#include "runtime/load/load_model.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/convert.h"
#include "tests/runtime/load/expect_slices.h"
#include "tests/runtime/load/file_builders.h"
#include "tests/runtime/load/status_matchers.h"

namespace tamis {
namespace {

using absl::StatusCode;
using testing::ElementsAre;

std::unique_ptr<ModelFiles> OpenOk(const std::string& path, LoadFormat format = LoadFormat::kAuto,
                                   uint64_t seed = 1) {
  auto files = OpenModel(path, format, seed);
  EXPECT_TRUE(files.ok()) << files.status();
  return files.ok() ? *std::move(files) : nullptr;
}

TEST(LoadModel, ConfigOfBothFormatsIsTheSame) {
  const auto hf = OpenOk(FixturePath("tiny"));
  const auto gguf = OpenOk(FixturePath("tiny.gguf"));
  ASSERT_TRUE(hf && gguf);
  for (const ModelFiles* files : {hf.get(), gguf.get()}) {
    const ModelConfig& config = files->config();
    EXPECT_EQ(config.hidden_size, 24);
    EXPECT_EQ(config.num_layers, 2);
    EXPECT_EQ(config.num_q_heads, 6);
    EXPECT_EQ(config.num_kv_heads, 3);
    EXPECT_EQ(config.head_dim, 8);
    EXPECT_EQ(config.ffn_size, 20);
    EXPECT_EQ(config.vocab_size, 37);
    EXPECT_EQ(config.max_positions, 512);
    EXPECT_EQ(config.rope.theta, 20000.0);
    EXPECT_FLOAT_EQ(config.norm_eps, 1e-5f);
    EXPECT_FALSE(config.tied_embeddings);
    EXPECT_EQ(config.bos_token_id, 1);
    EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 5));
    EXPECT_EQ(files->stored_dtype(), DType::kF16);
  }
}

TEST(LoadModel, BothFormatsLoadToEqualWeights) {
  const auto hf = OpenOk(FixturePath("tiny"));
  const auto gguf = OpenOk(FixturePath("tiny.gguf"));
  ASSERT_TRUE(hf && gguf);
  const ModelShard shard = ShardOf(hf->config(), 0, 1);
  // Buffers compare whole: padding is poison in both.
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const ModelWeights a = LoadShard(*hf, shard, dtype);
    const ModelWeights b = LoadShard(*gguf, shard, dtype);
    ASSERT_EQ(a.buffer.bytes(), b.buffer.bytes());
    EXPECT_EQ(std::memcmp(a.buffer.data(), b.buffer.data(), a.buffer.bytes()), 0)
        << DTypeName(dtype);
  }
}

TEST(LoadModel, EveryRankHoldsItsSlicesOfSafetensors) {
  const auto files = OpenOk(FixturePath("tiny"));
  ASSERT_TRUE(files);
  ExpectSlicesAt(*files, {1, 2, 3, 4, 5, 6}, DType::kF32);
  ExpectSlicesAt(*files, {3, 4}, DType::kF16);  // copied, not converted
}

TEST(LoadModel, EveryRankHoldsItsSlicesOfGguf) {
  const auto files = OpenOk(FixturePath("tiny.gguf"));
  ASSERT_TRUE(files);
  ExpectSlicesAt(*files, {1, 2, 3, 4, 5, 6}, DType::kF32);
  ExpectSlicesAt(*files, {3, 4}, DType::kBF16);
}

TEST(LoadModel, TargetDTypesRoundTheStoredValues) {
  const auto files = OpenOk(FixturePath("tiny"));
  const ModelShard shard = ShardOf(files->config(), 1, 2);
  const ModelWeights exact = LoadShard(*files, shard, DType::kF32);
  const ModelWeights f16 = LoadShard(*files, shard, DType::kF16);
  const ModelWeights bf16 = LoadShard(*files, shard, DType::kBF16);
  const float* want = exact.layers[1].down.As<float>();
  for (int64_t i = 0; i < exact.layers[1].down.elements(); ++i) {
    const auto half = static_cast<const cpu::F16*>(f16.layers[1].down.data)[i];
    const auto brain = static_cast<const cpu::BF16*>(bf16.layers[1].down.data)[i];
    ASSERT_EQ(cpu::ToFloat(half), want[i]);  // stored as f16: exact
    ASSERT_EQ(brain.bits, cpu::FromFloat<cpu::BF16>(want[i]).bits);
  }
}

TEST(LoadModel, ProgressRisesToTheTotal) {
  const auto files = OpenOk(FixturePath("tiny.gguf"));
  const ModelShard shard = ShardOf(files->config(), 0, 2);
  ModelWeights weights = Poisoned(files->config(), shard, DType::kF32);
  uint64_t last = 0;
  uint64_t total = 0;
  ASSERT_OK(files->Load(shard, weights, [&](uint64_t done, uint64_t all) {
    EXPECT_GT(done, last);
    EXPECT_TRUE(total == 0 || all == total);
    last = done;
    total = all;
  }));
  EXPECT_EQ(last, total);
  EXPECT_LT(total, ReadFile(FixturePath("tiny.gguf")).size());  // half the heads, FFN, vocabulary
  EXPECT_GT(total, ReadFile(FixturePath("tiny.gguf")).size() / 3);
}

TEST(DummyModel, IsTheSameModelAtEveryRankCount) {
  const auto files = OpenOk(FixturePath("tiny"), LoadFormat::kDummy);
  ASSERT_TRUE(files);
  ExpectSlicesAt(*files, {1, 2, 3, 4, 5, 6}, DType::kF32);
}

TEST(DummyModel, DependsOnTheSeedAndHasTheStatedSpread) {
  const auto a = OpenOk(FixturePath("tiny/config.json"), LoadFormat::kDummy, 1);
  const auto b = OpenOk(FixturePath("tiny"), LoadFormat::kDummy, 2);
  const ModelShard shard = ShardOf(a->config(), 0, 1);
  const ModelWeights first = LoadShard(*a, shard);
  const ModelWeights again = LoadShard(*OpenOk(FixturePath("tiny"), LoadFormat::kDummy, 1), shard);
  const ModelWeights other = LoadShard(*b, shard);
  EXPECT_EQ(std::memcmp(first.buffer.data(), again.buffer.data(), first.buffer.bytes()), 0);
  const TensorView& gate_up = first.layers[0].gate_up;
  EXPECT_NE(std::memcmp(gate_up.data, other.layers[0].gate_up.data, gate_up.bytes()), 0);
  EXPECT_NE(std::memcmp(gate_up.data, first.layers[1].gate_up.data, gate_up.bytes()), 0);
  double sum = 0;
  double squares = 0;
  for (int64_t i = 0; i < gate_up.elements(); ++i) {
    const double value = static_cast<double>(gate_up.As<float>()[i]);
    sum += value;
    squares += value * value;
  }
  const double count = static_cast<double>(gate_up.elements());
  // 960 draws: the mean strays by 1/sqrt(24 * 960) = 0.0066 (one sigma), the spread by 1.5 %.
  EXPECT_NEAR(sum / count, 0.0, 0.03);
  EXPECT_NEAR(std::sqrt(squares / count), 1.0 / std::sqrt(24.0), 0.02);
  EXPECT_NEAR(first.final_norm.As<float>()[3], 1.0f, 0.1001f);
  EXPECT_EQ(a->stored_dtype(), DType::kF16);
}

}  // namespace
}  // namespace tamis
