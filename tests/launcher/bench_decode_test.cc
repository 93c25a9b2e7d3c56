// SPDX-License-Identifier: Apache-2.0
// `tamis bench decode`: its arithmetic by hand, and whole runs of a tiny model on the CPU.
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/device.h"
#include "launcher/bench/break_even.h"
#include "launcher/bench/decode.h"
#include "launcher/bench/decode_case.h"
#include "launcher/bench/kernels.h"
#include "launcher/bench/model_shapes.h"
#include "nlohmann/json.hpp"

namespace tamis {
namespace {

using ::testing::HasSubstr;

TEST(DecodeCases, AreBatchTimesContext) {
  const auto cases = ParseDecodeCases("1x131072,8x32K");
  ASSERT_TRUE(cases.ok()) << cases.status();
  ASSERT_EQ(cases->size(), 2u);
  EXPECT_EQ((*cases)[0].batch, 1);
  EXPECT_EQ((*cases)[0].context, 131072);
  EXPECT_EQ((*cases)[1].batch, 8);
  EXPECT_EQ((*cases)[1].context, 32768);
  for (const char* bad : {"", "1", "x", "1x", "0x8", "1x0", "1x8x2", "1x8,", "-1x8", "1x8M",
                          "5000x8", "1x99999999999"}) {
    const auto refused = ParseDecodeCases(bad);
    EXPECT_THAT(refused.status().message(), HasSubstr("--cases")) << bad;
  }
}

TEST(StepBytesTest, OfLlama3EightBillion) {
  const ModelConfig& model = *ModelShape("llama-3-8b");
  const auto shard = [&](int rank, int size) {
    return ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size, model.vocab_size, rank,
                      size);
  };
  const SelectionLayers dense = MakeSelectionLayers({}, model.num_layers);
  // 7.50 G weights without the embedding table; 128 KiB of keys and values per token.
  const StepBytes one = CountStepBytes(model, shard(0, 1), DType::kBF16, dense, 3, 131072, 0);
  EXPECT_NEAR(one.weights, 2 * 7.5046e9, 2e6);
  EXPECT_EQ(one.kv, 3.0 * 131072 * 131072);
  const StepBytes eighth = CountStepBytes(model, shard(7, 8), DType::kBF16, dense, 3, 131072, 0);
  EXPECT_EQ(eighth.kv * 8, one.kv);
  // Filters 2, 8, 18: layers 0, 1, 2, 8, 18 read everything, 27 the selection.
  SelectionConfig config;
  config.filter_layers = {2, 8, 18};
  const SelectionLayers layers = MakeSelectionLayers(config, model.num_layers);
  const StepBytes sparse =
      CountStepBytes(model, shard(0, 1), DType::kBF16, layers, 1, 131072, 2048);
  EXPECT_EQ(sparse.kv, 4096.0 * (5 * 131072 + 27 * 2048));
  EXPECT_EQ(sparse.weights, one.weights);
  // All keys and 2048 values in the three filter layers.
  config.filter_attends = FilterAttends::kSelected;
  const StepBytes keys =
      CountStepBytes(model, shard(0, 1), DType::kBF16,
                     MakeSelectionLayers(config, model.num_layers), 1, 131072, 2048);
  EXPECT_EQ(keys.kv, 4096.0 * (2 * 131072 + 27 * 2048) + 3 * 2048.0 * (131072 + 2048));
}

TEST(QuantileTest, OfAFew) {
  EXPECT_EQ(Quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(Quantile({3, 1, 2}, 0.0), 1);
  EXPECT_EQ(Quantile({3, 1, 2}, 1.0), 3);
}

// A Hugging Face directory with a configuration and nothing else.
std::string TinyModel() {
  const std::string path = ::testing::TempDir() + "config.json";
  std::ofstream(path) << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 512,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "hidden_act": "silu", "torch_dtype": "float32"})";
  return path;
}

int RunBench(const DecodeBenchFlags& flags) {
  int argc = 0;
  char** argv = nullptr;
  return RunDecodeBench(flags, &argc, &argv);
}

DecodeBenchFlags TinyFlags() {
  DecodeBenchFlags flags;
  flags.serve.values = {{"model", TinyModel()}, {"load-format", "dummy"}, {"device", "cpu"}};
  flags.steps = 3;
  flags.warmup = 1;
  flags.json_path = ::testing::TempDir() + "decode.json";
  return flags;
}

nlohmann::json Written(const DecodeBenchFlags& flags) {
  std::ifstream file(flags.json_path);
  return nlohmann::json::parse(file);
}

TEST(DecodeBench, MeasuresDenseAndSparseStepsOfATinyModel) {
  DecodeBenchFlags flags = TinyFlags();
  flags.cases = "1x40,3x512";
  flags.serve.values["selection-filter-layers"] = "1";
  flags.serve.values["selection-min-context"] = "256";
  flags.serve.values["num-selected-tokens"] = "128";
  ASSERT_EQ(RunBench(flags), 0);
  const nlohmann::json result = Written(flags);
  EXPECT_GT(result["read_ceiling_bytes_per_s"], 1e8);
  ASSERT_EQ(result["rows"].size(), 4u);
  const char* modes[] = {"dense", "dense", "dense", "sparse"};  // 40 is below min-context
  for (size_t i = 0; i < 4; ++i) {
    const nlohmann::json& row = result["rows"][i];
    EXPECT_EQ(row["mode"], modes[i]) << i;
    EXPECT_GT(row["step_ms"], 0);
    EXPECT_LE(row["measured_ms_min"], row["measured_ms"]);
  }
  EXPECT_LT(result["rows"][3]["kv_bytes"], result["rows"][2]["kv_bytes"]);
}

TEST(BreakEven, IsWhereSparseStepsBeginToBeFaster) {
  // The budget covers 1000; a straight line from -1 to +3 crosses at a quarter.
  std::vector<BreakEvenPoint> points = {{1000, 5, 5, std::nullopt},
                                        {2000, 5, 5, 4},  // by accident: not so after it
                                        {4000, 5, 5, 6},
                                        {8000, 9, 9.9, 6},
                                        {16000, 20, 7.14, 7}};
  EXPECT_EQ(BreakEvenContext(points), 5000.0);
  EXPECT_EQ(RecommendedMinContext(5000), 5120);
  EXPECT_EQ(RecommendedMinContext(5120), 5120);
  EXPECT_EQ(points[0].auto_loss(), 0);
  EXPECT_NEAR(points[3].auto_loss(), 0.65, 1e-9);
  EXPECT_NEAR(points[4].auto_loss(), 0.02, 1e-9);
  points[2].sparse_ms.reset();
  EXPECT_EQ(BreakEvenContext(points), 8000.0);
  points[4].sparse_ms = 20;
  EXPECT_EQ(BreakEvenContext(points), std::nullopt);
  EXPECT_TRUE(BreakEvenJson(points, 7)["recommended_min_context"].is_null());
}

TEST(DecodeBench, MeasuresTheBreakEven) {
  DecodeBenchFlags flags = TinyFlags();
  flags.break_even = true;
  EXPECT_EQ(RunBench(flags), 2);  // nothing selects
  flags.serve.values["selection-filter-layers"] = "1";
  flags.serve.values["selection-min-context"] = "5000";
  flags.serve.values["num-selected-tokens"] = "1500";
  ASSERT_EQ(RunBench(flags), 0);
  const nlohmann::json result = Written(flags);
  ASSERT_EQ(result["rows"].size(), 33u);
  const nlohmann::json& points = result["break_even"]["points"];
  ASSERT_EQ(points.size(), 11u);
  EXPECT_TRUE(points[0]["sparse_ms"].is_null());
  EXPECT_EQ(points[0]["context"], 1024);
  EXPECT_EQ(points[10]["context"], 65536);
  for (size_t i = 0; i < 33; ++i) {
    const nlohmann::json& row = result["rows"][i];
    const int64_t context = row["context"];
    EXPECT_EQ(row["asked"], i % 3 == 0 ? "off" : i % 3 == 1 ? "on" : "auto");
    const bool sparse = (i % 3 == 1 && context > 1500) || (i % 3 == 2 && context > 5000);
    EXPECT_EQ(row["mode"], sparse ? "sparse" : "dense") << i;
  }
  EXPECT_EQ(result["break_even"]["auto_min_context"], 5000);
  EXPECT_TRUE(result["break_even"].contains("recommended_min_context"));
}

TEST(DecodeBench, AddsTheCollectivesOfASimulatedRank) {
  DecodeBenchFlags flags = TinyFlags();
  flags.cases = "2x64";
  flags.simulate_rank = "1/2";
  flags.latencies_path = ::testing::TempDir() + "decode-latencies.txt";
  std::ofstream(flags.latencies_path) << "all_reduce 2 1 1000\nall_gather 2 1 1000\n";
  ASSERT_EQ(RunBench(flags), 0);
  const nlohmann::json result = Written(flags);
  EXPECT_EQ(result["rank"], 1);
  EXPECT_EQ(result["ranks"], 2);
  const nlohmann::json& row = result["rows"][0];
  // 9 all-reduces and an all-gather of a millisecond each.
  EXPECT_NEAR(row["collectives_ms"], 10.0, 1e-9);
  EXPECT_NEAR(row["step_ms"], row["measured_ms"].get<double>() + 10.0, 1e-9);

  for (const char* bad : {"2/2", "-1/2", "1", "1/2/3", "a/b"}) {
    flags.simulate_rank = bad;
    EXPECT_EQ(RunBench(flags), 2) << bad;
  }
  flags.simulate_rank = "0/3";  // more than there are KV heads, and not in the table
  EXPECT_EQ(RunBench(flags), 1);
  flags.simulate_rank = "0/2";
  flags.latencies_path.clear();
  EXPECT_EQ(RunBench(flags), 2);
}

TEST(KernelsBench, NeedsAGpu) {
  if (CudaDeviceCount() > 0) GTEST_SKIP() << "a GPU is there";
  int argc = 0;
  char** argv = nullptr;
  EXPECT_EQ(RunKernelsBench({}, &argc, &argv), 1);
}

TEST(DecodeBench, RefusesWhatCannotBeMeasured) {
  DecodeBenchFlags flags = TinyFlags();
  flags.cases = "1x10";  // shorter than the steps
  EXPECT_EQ(RunBench(flags), 2);
  flags = TinyFlags();
  flags.serve.values["model"] = "llama-3-1b";
  EXPECT_EQ(RunBench(flags), 1);
  flags.serve.values["model"] = "llama-3-70b";
  flags.cases = "64x1024K";  // 20 TB of keys and values
  EXPECT_EQ(RunBench(flags), 1);
}

}  // namespace
}  // namespace tamis
