// SPDX-License-Identifier: Apache-2.0
// The reduction-order contract: the attention op gives a sequence the same bits whatever else is in
// the batch; a whole step does for the same composition, and is close otherwise.
#include <cmath>
#include <cstring>
#include <random>

#include "gtest/gtest.h"
#include "kernels/ops.h"
#include "parallel/groups.h"
#include "tests/runtime/model/model_harness.h"

namespace tamis {
namespace {

constexpr uint64_t kSeed = 5;

ModelConfig SmallModel() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = 128;
  config.num_layers = 2;
  config.num_q_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 64;
  config.ffn_size = 160;
  config.vocab_size = 300;
  config.max_positions = 2048;
  return config;
}

std::vector<int32_t> RandomTokens(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int32_t> token(0, 299);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& id : tokens) id = token(random);
  return tokens;
}

class ReductionOrderTest : public testing::Test {
 protected:
  // A harness with the prompts prefilled but for their last token, one step each.
  std::unique_ptr<ModelHarness> Prefilled(std::span<TestSequence> sequences) {
    HarnessLimits limits;
    limits.num_tokens_max = 1400;
    limits.context_len_max = 1400;
    limits.num_blocks = 320;
    const ModelConfig config = SmallModel();
    const ModelShard shard = ShardOf(config, 0, 1);
    auto harness = std::make_unique<ModelHarness>(config, shard, DummyWeights(config, shard, kSeed),
                                                  *group_.collectives, limits);
    for (TestSequence& sequence : sequences) {
      harness->Run({&sequence, static_cast<int64_t>(sequence.tokens.size()) - 1});
    }
    return harness;
  }
  static std::vector<TestWork> DecodeAll(std::span<TestSequence> sequences) {
    std::vector<TestWork> work;
    for (TestSequence& sequence : sequences) work.push_back({&sequence, 1, /*decode=*/true});
    return work;
  }
  // Contexts below, at and above one and two attention chunks.
  static std::vector<TestSequence> Sequences() {
    std::vector<TestSequence> sequences;
    for (int64_t length : {40, 512, 513, 1300, 3}) {
      sequences.push_back({RandomTokens(length, static_cast<uint32_t>(length))});
    }
    return sequences;
  }
  Group group_ = MakeSelfGroup();
};

std::vector<float> Copy(std::span<const float> row) { return {row.begin(), row.end()}; }

TEST_F(ReductionOrderTest, SameBatchSameBits) {
  std::vector<TestSequence> first = Sequences();
  std::vector<TestSequence> second = Sequences();
  const auto harness = Prefilled(first);
  for (TestSequence& sequence : second) {  // other blocks, the same tokens
    harness->Run({&sequence, static_cast<int64_t>(sequence.tokens.size()) - 1});
  }
  const ConstTensorView logits = harness->Run(DecodeAll(first));
  std::vector<std::vector<float>> rows;
  for (int64_t s = 0; s < logits.shape[0]; ++s) rows.push_back(Copy(RowOf(logits, s)));
  const ConstTensorView again = harness->Run(DecodeAll(second));
  for (size_t s = 0; s < rows.size(); ++s) {
    EXPECT_EQ(Copy(RowOf(again, static_cast<int64_t>(s))), rows[s]) << "sequence " << s;
  }
}

TEST_F(ReductionOrderTest, AloneOrInABatch) {
  std::vector<TestSequence> batched = Sequences();
  const auto harness = Prefilled(batched);
  const ConstTensorView logits = harness->Run(DecodeAll(batched));
  std::vector<std::vector<float>> rows;
  for (int64_t s = 0; s < logits.shape[0]; ++s) rows.push_back(Copy(RowOf(logits, s)));
  for (size_t s = 0; s < rows.size(); ++s) {
    --batched[s].num_cached;  // the same token once more, alone
    const ConstTensorView alone = harness->Run({&batched[s], 1, /*decode=*/true});
    // A matrix product may change its bits with the number of rows; nothing else differs.
    EXPECT_LE(RelativeError(RowOf(alone, 0), rows[s]), 2e-6) << "sequence " << s;
  }
}

TEST_F(ReductionOrderTest, AttentionGivesASequenceTheSameBits) {
  const ModelConfig config = SmallModel();
  const ModelShard shard = ShardOf(config, 0, 1);
  const int64_t width = config.num_q_heads * config.head_dim;
  const std::vector<int32_t> lengths = {40, 512, 513, 1300, 3};
  constexpr int64_t kBlockTokens = 16;
  constexpr int64_t kBlocksMax = 82;
  const int64_t num_seqs = static_cast<int64_t>(lengths.size());
  const KvCache cache(config, shard, {kBlockTokens, num_seqs * kBlocksMax, DType::kF32},
                      DenseLayerGroups(config.num_layers), DeviceKind::kCpu);
  const KvPages& pages = cache.layer(1);
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  float* values = static_cast<float*>(pages.data);
  for (size_t i = 0; i < pages.bytes() / sizeof(float); ++i) values[i] = normal(random);
  std::vector<int32_t> table(static_cast<size_t>(num_seqs * kBlocksMax));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  std::shuffle(table.begin(), table.end(), random);
  std::vector<float> queries(static_cast<size_t>(num_seqs * width));
  for (float& value : queries) value = normal(random);

  const StepLimits limits{num_seqs, num_seqs, num_seqs, 0, kBlocksMax * kBlockTokens};
  Scratch scratch(Buffer(MemoryKind::kCpu,
                         ScratchBytes(config, shard, DType::kF32, DeviceKind::kCpu, limits),
                         "scratch"));
  const auto attend = [&](int64_t begin, int64_t count) {
    std::vector<float> out(static_cast<size_t>(count * width), std::nanf(""));
    const DecodeBatch batch{
        {lengths.data() + begin, {count}, DType::kI32, DeviceKind::kCpu},
        {table.data() + begin * kBlocksMax, {count, kBlocksMax}, DType::kI32, DeviceKind::kCpu},
        1300};
    ops::DecodeAttention(
        {out.data(), {count, width}, DType::kF32, DeviceKind::kCpu},
        {queries.data() + begin * width, {count, width}, DType::kF32, DeviceKind::kCpu}, pages,
        batch, 0.125f, scratch, Stream::Cpu());
    return out;
  };
  const std::vector<float> together = attend(0, num_seqs);
  for (int64_t s = 0; s < num_seqs; ++s) {
    const std::vector<float> alone = attend(s, 1);
    EXPECT_FALSE(std::isnan(alone[0]));
    EXPECT_EQ(std::memcmp(alone.data(), together.data() + s * width,
                          static_cast<size_t>(width) * sizeof(float)),
              0)
        << "sequence " << s;
  }
}

}  // namespace
}  // namespace tamis
