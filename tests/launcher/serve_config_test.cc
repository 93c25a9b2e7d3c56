// SPDX-License-Identifier: Apache-2.0
// Flags and YAML: the same names, the same checks, every problem at once.
#include "launcher/serve_config.h"

#include <cstdio>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/temp_file.h"

namespace tamis {
namespace {

const NamedValues kModel = {{"model", "m.gguf"}};

TEST(ServeConfig, FlagsWinOverYamlAndBothSpellingsWork) {
  const std::string path =
      WriteTempFile("good.yaml", "max_num_seqs: 4  # a comment\nmax-model-len: 128\nport: 1\n");
  const auto yaml = ReadYaml(path);
  ASSERT_TRUE(yaml.ok()) << yaml.status();
  std::vector<std::string> problems;
  const ServeConfig config =
      MakeServeConfig(*yaml, {{"model", "m.gguf"}, {"port", "0"}}, &problems);
  EXPECT_TRUE(problems.empty()) << problems.front();
  EXPECT_EQ(config.schedule.max_num_seqs, 4);
  EXPECT_EQ(config.model.max_model_len, 128);
  EXPECT_EQ(config.server.port, 0);
  EXPECT_EQ(config.model.path, "m.gguf");
}

TEST(ServeConfig, ReportsEveryProblemAtOnce) {
  std::vector<std::string> problems;
  MakeServeConfig({{"max_num_sequences", "4"}, {"port", "70000"}},
                  {{"dtype", "int8"}, {"kv-cache-dtype", "fp8"}, {"shutdown-timeout", "nan"}},
                  &problems);
  ASSERT_EQ(problems.size(), 6u);
  EXPECT_EQ(problems[0], "config file: max_num_sequences: no such option");
  EXPECT_EQ(problems[1], "config file: --port: \"70000\"; allowed is a number in [0, 65535]");
  EXPECT_EQ(problems[2], "--dtype: \"int8\"; allowed are auto, float32, bfloat16, float16");
  EXPECT_EQ(problems[3], "--kv-cache-dtype: \"fp8\"; allowed are auto");
  EXPECT_NE(problems[4].find("--shutdown-timeout: \"nan\""), std::string::npos);
  EXPECT_EQ(problems[5], "--model: not given, and it is required");
}

TEST(ServeConfig, RefusesWhatIsNotSupported) {
  for (const auto& [name, value] :
       NamedValues{{"gpu-memory-utilization", "0.9"}, {"max-num-batched-tokens", "15"}}) {
    NamedValues flags = kModel;
    flags.emplace_back("device", "cpu");
    flags.emplace_back(name, value);
    std::vector<std::string> problems;
    MakeServeConfig({}, flags, &problems);
    ASSERT_EQ(problems.size(), 1u) << name;
    EXPECT_EQ(problems[0].rfind("--" + name + ": ", 0), 0u) << problems[0];
  }
  std::vector<std::string> problems;
  NamedValues both = kModel;
  both.emplace_back("num-kv-blocks", "10");
  both.emplace_back("kv-cache-memory-bytes", "1GiB");
  MakeServeConfig({}, both, &problems);
  EXPECT_EQ(problems.size(), 1u);
}

TEST(ServeConfig, Selection) {
  std::vector<std::string> problems;
  const ServeConfig config =
      MakeServeConfig({{"selection_filter_layers", "2, 8,18"}, {"num_selected_tokens", "0.067"}},
                      {{"model", "m.gguf"},
                       {"selection-score", "softmax_max"},
                       {"selection-scope", "kv_head"},
                       {"selection-candidates", "prompt"},
                       {"selection-lse", "prompt"},
                       {"selection-filter-attention", "selected"},
                       {"selection-wait-layers", "1"},
                       {"selection-min-context", "0"},
                       {"selection-sink-tokens", "0"},
                       {"selection-recent-tokens", "1"},
                       {"max-selected-tokens", "3000"},
                       {"selection-debug-check", "true"}},
                      &problems);
  EXPECT_TRUE(problems.empty()) << problems.front();
  const SelectionConfig& selection = config.selection;
  EXPECT_EQ(selection.filter_layers, (std::vector<int32_t>{2, 8, 18}));
  EXPECT_EQ(selection.budget, (SelectionBudget{0, 0.067}));
  EXPECT_EQ(selection.score, ScoreKind::kSoftmaxMax);
  EXPECT_EQ(selection.scope, SelectionScope::kKvHead);
  EXPECT_EQ(selection.candidates, SelectionCandidates::kPrompt);
  EXPECT_EQ(selection.lse, ops::LseScope::kCandidates);
  EXPECT_EQ(selection.filter_attends, FilterAttends::kSelected);
  EXPECT_EQ(selection.wait_layers, 1);
  EXPECT_EQ(selection.min_context, 0);
  EXPECT_EQ(selection.sink_tokens, 0);
  EXPECT_EQ(selection.recent_tokens, 1);
  EXPECT_EQ(selection.max_selected_tokens, 3000);
  EXPECT_TRUE(selection.debug_check);
  EXPECT_FALSE(selection.force_sparse);
  EXPECT_FALSE(ServeConfig().selection.enabled());
}

TEST(ServeConfig, SelectionRefusesWhatIsNoBudgetOrLayer) {
  for (const auto& [name, value] : NamedValues{{"num-selected-tokens", "0"},
                                               {"num-selected-tokens", "1.5"},
                                               {"num-selected-tokens", "-3"},
                                               {"num-selected-tokens", "nan"},
                                               {"num-selected-tokens", "many"},
                                               {"selection-filter-layers", "2,x"},
                                               {"selection-filter-layers", "2,,8"},
                                               {"selection-score", "max"},
                                               {"selection-debug-check", "1"},
                                               {"selection-recent-tokens", "-1"}}) {
    NamedValues flags = kModel;
    flags.emplace_back(name, value);
    std::vector<std::string> problems;
    MakeServeConfig({}, flags, &problems);
    ASSERT_EQ(problems.size(), 1u) << name << " " << value;
    EXPECT_EQ(problems[0].rfind("--" + name + ": \"" + value + "\"; allowed", 0), 0u)
        << problems[0];
  }
}

TEST(ServeConfig, Bytes) {
  const auto bytes = [](const std::string& value, std::vector<std::string>* problems) {
    NamedValues flags = kModel;
    flags.emplace_back("kv-cache-memory-bytes", value);
    return MakeServeConfig({}, flags, problems).cache.bytes;
  };
  std::vector<std::string> problems;
  EXPECT_EQ(bytes("4096", &problems), 4096);
  EXPECT_EQ(bytes("3KiB", &problems), 3 << 10);
  EXPECT_EQ(bytes("256MiB", &problems), 256 << 20);
  EXPECT_EQ(bytes("8GiB", &problems), int64_t{8} << 30);
  EXPECT_TRUE(problems.empty());
  for (const char* bad : {"", "GiB", "1GB", "-1", "1.5GiB", "99999999999GiB"}) {
    problems.clear();
    bytes(bad, &problems);
    EXPECT_EQ(problems.size(), 1u) << bad;
  }
}

TEST(ServeConfig, YamlThatIsNoFlatMapIsRefused) {
  EXPECT_EQ(ReadYaml(::testing::TempDir() + "none.yaml").status().code(),
            absl::StatusCode::kNotFound);
  for (const char* bad : {"- a\n- b\n", "server:\n  port: 1\n", "a: [1\n", "port: [[1, 2]]\n",
                          "port: 1\nport: 2\n", "max-num-seqs: 1\nmax_num_seqs: 2\n", "port:\n"}) {
    EXPECT_EQ(ReadYaml(WriteTempFile("bad.yaml", bad)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
  const auto empty = ReadYaml(WriteTempFile("empty.yaml", "# nothing\n"));
  ASSERT_TRUE(empty.ok());
  EXPECT_TRUE(empty->empty());
  // A list is its elements with commas, which is no port.
  std::vector<std::string> problems;
  MakeServeConfig(*ReadYaml(WriteTempFile("list.yaml", "port: [1, 2]\n")), kModel, &problems);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].rfind("config file: --port: \"1,2\"; allowed", 0), 0u) << problems[0];
}

TEST(ServeConfig, EveryOptionIsDescribed) {
  const std::vector<std::string> lines = Describe(ServeConfig());
  const std::vector<ServeOption> options = ServeOptions();
  ASSERT_EQ(lines.size(), options.size());
  for (size_t i = 0; i < options.size(); ++i) {
    EXPECT_EQ(lines[i].rfind(options[i].name + ": ", 0), 0u) << lines[i];
    EXPECT_FALSE(options[i].help.empty());
  }
}

// Every file of configs/ must be one that serve takes.
TEST(ServeConfig, ShippedFiles) {
  struct Shipped {
    const char* name;
    int64_t num_layers;
    std::vector<int32_t> filters;
  };
  for (const auto& [name, num_layers, filters] :
       {Shipped{"smollm2-cpu", 30, {}}, Shipped{"smollm2-gpu", 30, {}},
        Shipped{"smollm2-selection", 30, {3, 5, 17}}, Shipped{"llama-3-8b", 32, {2, 8, 18}},
        Shipped{"llama-3-70b", 80, {4, 19, 41}}}) {
    const auto yaml = ReadYaml(std::string(TAMIS_SOURCE_DIR) + "/configs/" + name + ".yaml");
    ASSERT_TRUE(yaml.ok()) << yaml.status();
    std::vector<std::string> problems;
    const ServeConfig config = MakeServeConfig(*yaml, kModel, &problems);
    EXPECT_TRUE(problems.empty()) << name << ": " << problems.front();
    EXPECT_EQ(config.selection.filter_layers, filters) << name;
    EXPECT_EQ(SelectionConfigProblem(config.selection, num_layers, 131072), "") << name;
    const int64_t max_model_len = config.model.max_model_len;
    EXPECT_TRUE(filters.empty() || max_model_len == 0 ||
                max_model_len > config.selection.min_context)
        << name << " would never select";
  }
}

}  // namespace
}  // namespace tamis
