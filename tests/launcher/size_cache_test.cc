// SPDX-License-Identifier: Apache-2.0
// Limits of memory: blocks of the cache by default, and what a container leaves of its host.
#include "launcher/size_cache.h"

#include <filesystem>
#include <string>

#include "gtest/gtest.h"
#include "launcher/host_checks.h"
#include "parallel/groups.h"
#include "parallel/shard.h"
#include "tests/support/temp_file.h"

namespace tamis {
namespace {

TEST(SizeCache, OnCpusOneSequenceFitsHoweverLargeABlockIs) {
  ModelConfig model;
  model.hidden_size = 4096;
  model.num_layers = 32;
  model.num_q_heads = model.num_kv_heads = 32;
  model.head_dim = 128;
  model.ffn_size = 11008;
  model.vocab_size = 32000;
  model.max_positions = 4096;
  const ModelShard shard = ShardModel(32, 32, 11008, 32000, 0, 1);
  ServeConfig config;
  WorkerConfig worker;
  worker.device = DeviceKind::kCpu;
  worker.kv.block_tokens = 1024;  // 1 GiB in float32, twice what CPU ranks take by default
  worker.kv.dtype = DType::kF32;
  const Group group = MakeSelfGroup();
  const auto limits = SizeCache(config, {model, shard, DType::kF32}, worker, ChosenDevice{},
                                World{}, *group.control);
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_GE(limits->num_blocks * 1024, limits->max_model_len);
  EXPECT_GE(limits->max_model_len, 1024);
}

TEST(HostMemoryBytes, IsWhatTheControlGroupAllows) {
  const uint64_t machine = HostMemoryBytes("/nowhere");
  EXPECT_GT(machine, uint64_t{1} << 28);
  const std::string folder =
      std::filesystem::path(WriteTempFile("memory.max", "max\n")).parent_path();
  EXPECT_EQ(HostMemoryBytes(folder), machine);
  WriteTempFile("memory.max", "104857600\n");
  EXPECT_EQ(HostMemoryBytes(folder), uint64_t{104857600});
  WriteTempFile("memory.max", "9223372036854771712\n");
  EXPECT_EQ(HostMemoryBytes(folder), machine);
}

}  // namespace
}  // namespace tamis
