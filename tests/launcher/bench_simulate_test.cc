// SPDX-License-Identifier: Apache-2.0
// `tamis bench decode --simulate-rank`: the table of latencies, and that what is counted is what a
// rank calls.
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/bench/collective_latencies.h"
#include "launcher/bench/decode_rank.h"
#include "launcher/bench/engine_steps.h"
#include "launcher/bench/model_shapes.h"
#include "parallel/simulated_collectives.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/step_graphs.h"
#include "tests/support/temp_file.h"

namespace tamis {
namespace {

using ::testing::HasSubstr;

TEST(CollectiveLatenciesTest, LieOnLinesBetweenThePoints) {
  const auto table = CollectiveLatencies::Read(
      WriteTempFile("latencies.txt",
                    "# a comment\nall_reduce 8 1000 4  # published\n\nall_reduce 8 3000 8\n"
                    "all_gather 8 64 5\n"));
  ASSERT_TRUE(table.ok()) << table.status();
  const auto us = [&](const char* name, size_t bytes) {
    return *table->Microseconds(name, 8, bytes);
  };
  EXPECT_EQ(us("all_reduce", 10), 4);
  EXPECT_EQ(us("all_reduce", 1000), 4);
  EXPECT_EQ(us("all_reduce", 2000), 6);
  EXPECT_EQ(us("all_reduce", 3000), 8);
  EXPECT_EQ(us("all_reduce", 4000), 10);
  EXPECT_EQ(us("all_gather", 1 << 20), 5);
  EXPECT_THAT(table->Microseconds("all_reduce", 4, 10).status().message(),
              HasSubstr("no latency of all_reduce over 4 ranks"));
}

TEST(CollectiveLatenciesTest, RefuseWhatIsNoTable) {
  EXPECT_TRUE(absl::IsNotFound(CollectiveLatencies::Read("/nowhere").status()));
  for (const char* bad : {"all_reduce 8 1000", "all_reduce 8 1000 4 5", "all_reduce x 1000 4",
                          "all_reduce 0 1000 4", "all_reduce 8 1000 -4"}) {
    const auto table =
        CollectiveLatencies::Read(WriteTempFile("bad.txt", std::string("# x\n") + bad));
    EXPECT_THAT(table.status().message(), HasSubstr("bad.txt:2: ")) << bad;
  }
}

TEST(CollectiveLatenciesTest, TheCommittedTableHasALargeModelsStep) {
  const auto table =
      CollectiveLatencies::Read(std::string(TAMIS_SOURCE_DIR) + "/bench/collective_latencies.txt");
  ASSERT_TRUE(table.ok()) << table.status();
  const ModelConfig& model = *ModelShape("llama-3-70b");
  SelectionConfig selection;
  selection.filter_layers = {2, 8, 18};
  const SelectionLayers layers = MakeSelectionLayers(selection, model.num_layers);
  for (const int ranks : {2, 4, 8}) {
    const ModelShard shard = ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size,
                                        model.vocab_size, 0, ranks);
    for (const StepCollective& call :
         CollectivesOfStep(model, shard, DType::kBF16, layers, 8, 2048, 131072)) {
      const auto us = table->Microseconds(call.name, ranks, call.bytes);
      ASSERT_TRUE(us.ok()) << us.status();
      EXPECT_GT(*us, 3) << call.name << " " << ranks << " " << call.bytes;
      EXPECT_LT(*us, 200) << call.name << " " << ranks << " " << call.bytes;
    }
  }
}

ServeConfig TinyConfig() {
  ServeConfig config;
  config.model.load_format = "dummy";
  config.model.path = WriteTempFile("simulate.json", R"({"architectures": ["LlamaForCausalLM"],
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 512,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "hidden_act": "silu", "torch_dtype": "float32"})");
  config.ranks.device = "cpu";
  config.selection.filter_layers = {1};
  config.selection.min_context = 0;
  config.selection.budget = {128, 0.0};
  return config;
}

TEST(SimulateRank, WhatIsCountedIsWhatAStepCalls) {
  for (const SelectionMode mode : {SelectionMode::kOff, SelectionMode::kOn}) {
    Group group = MakeSelfGroup();
    SimulatedCollectives collectives(1, 2);
    auto rank = MakeDecodeRank(TinyConfig(), {{1, 300}}, World(), ChosenDevice(), *group.control,
                               collectives);
    ASSERT_TRUE(rank.ok()) << rank.status();
    EXPECT_EQ(rank->shard.heads.q_heads.count, 2);
    StepGate gate;
    StepHooks hooks;
    hooks.begin = [&gate](const StepPlan&) { gate.Wait(); };
    Engine engine(rank->scheduler, *group.control, *rank->worker, hooks);
    const StepRun run{1, 300, 2, 4, mode, 512, std::chrono::seconds(60)};
    absl::StatusOr<StepTimes> times;
    std::thread driver([&] {
      times = TimeDecodeSteps(engine, *rank->worker, gate, run);
      engine.Drain(std::chrono::steady_clock::now() + std::chrono::seconds(10));
    });
    engine.Run();
    driver.join();
    ASSERT_TRUE(times.ok()) << times.status();
    EXPECT_EQ(times->ms.size(), 4u);

    const int64_t steps = engine.stats().steps_total;
    // 128 less 4 sinks and 64 recent tokens are 60, in a list of 64.
    const int64_t k_max = mode == SelectionMode::kOn ? 64 : 0;
    SimulatedCollectives::Calls expected;
    for (const StepCollective& call :
         CollectivesOfStep(rank->model, rank->shard, rank->dtype, rank->layers, 1, k_max, 300)) {
      // The first step decodes the prompt's last token, which selects nothing.
      const int64_t times_called = call.name == "exchange_top_k" ? steps - 1 : steps;
      expected[{call.name, call.bytes}] += call.count * times_called;
    }
    EXPECT_EQ(collectives.calls(), expected) << static_cast<int>(mode);
  }
}

}  // namespace
}  // namespace tamis
