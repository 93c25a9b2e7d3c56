// SPDX-License-Identifier: Apache-2.0
// SmolLM2-135M-Instruct as it is published: a Q4_1 file with a Q8_0 embedding.
#include <cmath>
#include <cstdlib>
#include <string>

#include "gtest/gtest.h"
#include "runtime/load/load_model.h"
#include "tests/runtime/load/expect_slices.h"
#include "tests/runtime/load/status_matchers.h"

namespace tamis {
namespace {

class RealModel : public testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("TAMIS_TEST_MODEL");
    if (path == nullptr) {
      GTEST_SKIP() << "TAMIS_TEST_MODEL does not name a SmolLM2-135M-Instruct GGUF file";
    }
    auto files = OpenModel(path, LoadFormat::kAuto, 0);
    ASSERT_OK(files);
    files_ = *std::move(files);
  }
  std::unique_ptr<ModelFiles> files_;
};

TEST_F(RealModel, Config) {
  const ModelConfig& config = files_->config();
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.num_layers, 30);
  EXPECT_EQ(config.num_q_heads, 9);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.ffn_size, 1536);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.max_positions, 8192);
  EXPECT_EQ(config.rope.theta, 100000.0);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_THAT(config.eos_token_ids, testing::ElementsAre(2));
  EXPECT_EQ(files_->stored_dtype(), DType::kF32);
}

TEST_F(RealModel, EveryRankHoldsItsSlices) {
  // 5 ranks: 1536 columns of down split inside quantised blocks.
  ExpectSlicesAt(*files_, {2, 3, 5}, DType::kBF16);
}

TEST_F(RealModel, WeightsLookTrained) {
  const ModelShard shard = ShardOf(files_->config(), 1, 3);
  const ModelWeights weights = LoadShard(*files_, shard);
  for (const LayerWeights& layer : weights.layers) {
    for (const TensorView& tensor : {layer.qkv, layer.o, layer.gate_up, layer.down}) {
      double squares = 0;
      for (int64_t i = 0; i < tensor.elements(); ++i) {
        const double value = static_cast<double>(tensor.As<float>()[i]);
        ASSERT_LT(std::abs(value), 20.0);
        squares += value * value;
      }
      const double spread = std::sqrt(squares / static_cast<double>(tensor.elements()));
      EXPECT_GT(spread, 0.01);
      EXPECT_LT(spread, 1.0);
    }
  }
}

}  // namespace
}  // namespace tamis
