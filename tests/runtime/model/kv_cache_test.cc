// SPDX-License-Identifier: Apache-2.0
// Sizes of the cache and of the activations, and that layers do not overlap.
#include "runtime/model/kv_cache.h"

#include "gtest/gtest.h"
#include "runtime/model/llama.h"

namespace tamis {
namespace {

ModelConfig SmallModel() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = 100;
  config.num_layers = 3;
  config.num_q_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = 16;
  config.ffn_size = 33;
  config.vocab_size = 257;
  config.max_positions = 64;
  return config;
}

ModelShard Shard(const ModelConfig& config, int rank, int size) {
  return ShardModel(config.num_q_heads, config.num_kv_heads, config.ffn_size, config.vocab_size,
                    rank, size);
}

TEST(KvCacheTest, BytesPerBlockCountLocalHeads) {
  const ModelConfig config = SmallModel();
  const KvCacheConfig cache{8, 5, DType::kF32};
  // layers x heads x (K, V) x tokens x head_dim x bytes
  EXPECT_EQ(KvBytesPerBlock(config, Shard(config, 0, 1), cache), 3u * 3 * 2 * 8 * 16 * 4);
  EXPECT_EQ(KvBytesPerBlock(config, Shard(config, 0, 2), cache), 3u * 2 * 2 * 8 * 16 * 4);
  EXPECT_EQ(KvBytesPerBlock(config, Shard(config, 1, 2), cache), 3u * 1 * 2 * 8 * 16 * 4);
  EXPECT_EQ(KvBytesPerBlock(config, Shard(config, 4, 5), {8, 5, DType::kBF16}),
            3u * 1 * 2 * 8 * 16 * 2);
}

TEST(KvCacheTest, LayersLieSideBySide) {
  const ModelConfig config = SmallModel();
  const KvCache cache(config, Shard(config, 0, 2), {8, 5, DType::kF32},
                      DenseLayerGroups(config.num_layers), DeviceKind::kCpu);
  size_t total = 0;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const KvPages& pages = cache.layer(l);
    EXPECT_EQ(pages.num_blocks, 5);
    EXPECT_EQ(pages.kv_heads_local, 2);
    EXPECT_EQ(static_cast<const std::byte*>(pages.data) -
                  static_cast<const std::byte*>(cache.layer(0).data),
              static_cast<std::ptrdiff_t>(total));
    total += pages.bytes();
  }
  EXPECT_EQ(total, KvBytesPerBlock(config, Shard(config, 0, 2), cache.config()) * 5);
  EXPECT_EQ(cache.groups().num_groups, 1);
}

TEST(ActivationsTest, FillTheirBuffer) {
  const ModelConfig config = SmallModel();
  const ModelShard shard = Shard(config, 1, 4);
  const StepLimits limits{32, 6, 6, 5, 64};
  const Activations act = AllocateActivations(config, shard, DType::kF32, DeviceKind::kCpu, limits);
  EXPECT_EQ(act.buffer.bytes(), ActivationBytes(config, shard, DType::kF32, limits));
  EXPECT_EQ(act.qkv.shape, (Shape{32, (3 + 2 * 1) * 16}));
  EXPECT_EQ(act.logits_all.shape, (Shape{4, 6, 65}));
  EXPECT_EQ(act.top_logprobs.shape, (Shape{6, 5}));
  const int32_t* offsets = act.vocab_offsets.As<int32_t>();
  EXPECT_EQ(std::vector<int32_t>(offsets, offsets + 5),
            (std::vector<int32_t>{0, 65, 129, 193, 257}));
  EXPECT_FLOAT_EQ(act.inv_freq.As<float>()[0], 1.0f);
  const auto* begin = static_cast<const std::byte*>(act.buffer.data());
  const auto* last = static_cast<const std::byte*>(act.vocab_offsets.data);
  EXPECT_LE(last + act.vocab_offsets.bytes(), begin + act.buffer.bytes());
}

}  // namespace
}  // namespace tamis
