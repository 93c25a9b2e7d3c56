// SPDX-License-Identifier: Apache-2.0
// Block counts: what is wanted, and that all ranks agree.
#include "runtime/engine/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/groups.h"
#include "runtime/model/step_input_buffers.h"
#include "tests/runtime/engine/tiny_cluster.h"

namespace tamis {
namespace {

using testing::HasSubstr;

TEST(MemoryBudgetTest, NumBlocksWanted) {
  const SchedulerConfig config = TinyConfig();  // 24 blocks hold the longest of 4 sequences
  const KvRequest nothing;
  EXPECT_EQ(NumBlocksWanted(config, nothing, 50'000, 1000), 50);
  EXPECT_EQ(NumBlocksWanted(config, nothing, 1'000, 1000), 24);
  EXPECT_EQ(NumBlocksWanted(config, nothing, 1'000'000, 1000), 96);
  EXPECT_EQ(NumBlocksWanted(config, {7, 0}, 50'000, 1000), 7);  // refused later, with a reason
  EXPECT_EQ(NumBlocksWanted(config, {0, 2'500'999}, 50'000, 1000), 2500);
}

TEST(MemoryBudgetTest, RanksAgreeOnTheLeast) {
  RunLoopback(3, [](int rank, Group& group) {
    EXPECT_EQ(AgreeOnNumBlocks(*group.control, 100 - 10 * (rank % 2)), 90);
  });
}

TEST(MemoryBudgetTest, TheTableAddsUp) {
  MemoryBudget budget;
  budget.weights = size_t{3} << 20;
  budget.kv = size_t{5} << 19;
  budget.activations = size_t{1} << 20;
  budget.scratch = size_t{1} << 19;
  budget.num_blocks = 10;
  budget.block_tokens = 16;
  const std::string table = RenderMemoryBudget(budget);
  EXPECT_THAT(table, HasSubstr("weights            3.0 MiB"));
  EXPECT_THAT(table, HasSubstr("(10 blocks of 16 tokens: 160 tokens)"));
  EXPECT_THAT(table, HasSubstr("total              7.0 MiB"));
}

TEST(MemoryBudgetTest, TheBudgetIsTheSumOfWhatIsAllocated) {
  const ModelConfig model = TinyModel();
  const SchedulerConfig config = TinyConfig();
  const ModelShard shard =
      ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size, model.vocab_size, 0, 2);
  WorkerConfig worker;
  worker.limits = StepLimitsOf(config);
  worker.kv = {config.block_tokens, config.num_blocks, DType::kF32};
  const MemoryBudget budget = ComputeMemoryBudget(model, shard, DType::kF32, worker);
  const ModelWeights weights = AllocateWeights(model, shard, DType::kF32, DeviceKind::kCpu);
  EXPECT_EQ(budget.weights, weights.buffer.bytes());
  // Two of three KV groups, two layers, K and V: 2 * 2 * 2 * 16 floats a token.
  EXPECT_EQ(budget.kv, size_t{2 * 2 * 2 * 16 * 4 * 4 * 96});
  EXPECT_EQ(budget.inputs,
            StepInputBuffers(worker.limits, 1, config.block_tokens, DeviceKind::kCpu).bytes());
  EXPECT_EQ(budget.total(),
            budget.weights + budget.kv + budget.activations + budget.scratch + budget.inputs);
  EXPECT_EQ(budget.host_bytes(), budget.total());
  EXPECT_EQ(budget.device_bytes(), 0u);
}

TEST(MemoryBudgetTest, OnAGpuTheHostHoldsOnlyWhatPassesThrough) {
  MemoryBudget budget;
  budget.weights = size_t{3} << 20;
  budget.inputs = size_t{1} << 20;
  budget.pinned = size_t{10} << 20;
  EXPECT_EQ(budget.host_bytes(), size_t{4} << 20);
  EXPECT_EQ(budget.device_bytes(), 0u);
  budget.device = DeviceKind::kCuda;
  budget.runtime = kGpuRuntimeBytes;
  EXPECT_EQ(budget.device_bytes(), (size_t{4} << 20) + kGpuRuntimeBytes);
  EXPECT_EQ(budget.host_bytes(), size_t{10} << 20);
  const std::string table = RenderMemoryBudget(budget);
  EXPECT_THAT(table, HasSubstr("total            516.0 MiB  (on the GPU)"));
  EXPECT_THAT(table, HasSubstr("pinned            10.0 MiB  (host memory)"));
}

}  // namespace
}  // namespace tamis
