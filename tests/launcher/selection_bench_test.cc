// SPDX-License-Identifier: Apache-2.0
// `tamis bench quality` and `tamis bench filters` from end to end, on a random model of six layers
// and this folder's sources as texts.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/bench/filters.h"
#include "launcher/bench/quality.h"
#include "launcher/bench/quality_cells.h"
#include "nlohmann/json.hpp"

namespace tamis {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kModelConfig = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 24,
  "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8,
  "intermediate_size": 20, "vocab_size": 1304, "max_position_embeddings": 512,
  "rms_norm_eps": 1e-05, "rope_theta": 20000.0, "tie_word_embeddings": true, "bos_token_id": 1,
  "eos_token_id": 2, "hidden_act": "silu", "torch_dtype": "float32"})";

class SelectionBenchTest : public ::testing::Test {
 protected:
  SelectionBenchTest() {
    const std::string source = TAMIS_SOURCE_DIR;
    fs::create_directories(folder_ / "model");
    std::ofstream(folder_ / "model/config.json") << kModelConfig;
    fs::copy_file(source + "/tests/runtime/tokenizer/fixtures/smol_like.json",
                  folder_ / "model/tokenizer.json", fs::copy_options::overwrite_existing);
    lab_.model = folder_ / "model";
    lab_.load_format = "dummy";
    lab_.device = "cpu";
    lab_.texts = {source + "/runtime/README.md", source + "/LICENSE"};
    lab_.context_lens = {160, 320};
    lab_.decode_tokens = 6;
    lab_.rows = 128;
    lab_.chunk_tokens = 64;
    lab_.threads = 1;
    lab_.json_path = folder_ / "report.json";
  }
  ~SelectionBenchTest() override { fs::remove_all(folder_); }

  nlohmann::json Report() const {
    std::ifstream file(lab_.json_path);
    return nlohmann::json::parse(file);
  }

  fs::path folder_ = fs::path(::testing::TempDir()) /
                     ::testing::UnitTest::GetInstance()->current_test_info()->name();
  LabFlags lab_;
};

TEST_F(SelectionBenchTest, QualityReportsEveryCell) {
  QualityFlags flags;
  flags.lab = lab_;
  flags.filters = "1,3";
  flags.other_filters = {"0,2"};
  flags.budgets = {0.1, 0.3};
  flags.sinks = 2;
  flags.recents = 8;
  flags.free_tokens = 4;
  flags.probe_steps = 2;
  flags.task_samples = 2;
  flags.factors = {"budget", "scope", "wait", "baseline", "filters"};
  flags.task_lens = {250};
  flags.lab.texts.pop_back();
  ASSERT_EQ(RunQualityBench(flags, nullptr, nullptr), 0);
  const nlohmann::json report = Report();
  EXPECT_EQ(report.at("texts").size(), 1u);
  EXPECT_GT(report.at("cells").size(), 12u);
  EXPECT_LE(report.at("cells").size(), kQualityCellsMax);
  double base_kl[2] = {};
  for (const nlohmann::json& cell : report.at("cells")) {
    const nlohmann::json& all = cell.at("texts").at("all");
    EXPECT_EQ(all.at("cases"), 2);
    EXPECT_EQ(all.at("tokens"), 12);
    EXPECT_EQ(all.at("free_tokens"), 8) << "a random model ends nothing within 4 tokens";
    EXPECT_GE(all.at("kl").get<double>(), -1e-6);
    if (all.at("attended") == 1.0) {
      EXPECT_NEAR(all.at("kl").get<double>(), 0.0, 1e-5) << cell.at("name");
      EXPECT_EQ(all.at("top1_agreement"), 1.0);
    }
    for (const char* kind : {"needle", "multi_needle", "two_stage"}) {
      const nlohmann::json& task = cell.at("tasks").at(kind);
      EXPECT_EQ(task.at("cases"), 2);
      EXPECT_LT(task.at("answer_log_probability").get<double>(), 0.0);
    }
    EXPECT_EQ(cell.at("recall").size(), 6u);
    if (cell.at("factor") == "budget") base_kl[cell.at("budget") == 0.1 ? 0 : 1] = all.at("kl");
  }
  EXPECT_GT(base_kl[0], base_kl[1]);
}

TEST_F(SelectionBenchTest, FiltersAreFoundAndASearchGoesOn) {
  FiltersFlags flags;
  flags.lab = lab_;
  flags.held_out = {std::string(TAMIS_SOURCE_DIR) + "/README.md"};
  flags.num_filters = 2;
  flags.dense_layers_max = 4;
  flags.budget = 0.2;
  flags.sinks = 2;
  flags.recents = 4;
  flags.similarity_steps = 2;
  flags.compare = {"0,3"};
  flags.state_path = folder_ / "state.json";
  ASSERT_EQ(RunFiltersBench(flags, nullptr, nullptr), 0);
  const nlohmann::json first = Report();
  ASSERT_EQ(first.at("results").size(), 3u);
  EXPECT_EQ(first.at("similarity").size(), 36u);
  // What was measured before is not measured again: a figure that is put into the state wins.
  nlohmann::json state = nlohmann::json::parse(std::ifstream(flags.state_path));
  for (nlohmann::json& tried : state.at("search")) {
    if (tried.at("filter_layers") == std::vector<int>{2, 4} ||
        tried.at("filter_layers") == std::vector<int>{2}) {
      tried.at("loss") = 0.001;
    }
  }
  std::ofstream(flags.state_path) << state.dump();
  ASSERT_EQ(RunFiltersBench(flags, nullptr, nullptr), 0);
  const nlohmann::json second = Report();
  EXPECT_EQ(second.at("similarity"), first.at("similarity"));
  EXPECT_EQ(second.at("results").at(1).at("search").at("filter_layers"),
            (std::vector<int>{2, 4}));
  // Other held-out texts are measured, and the search still goes on.
  flags.held_out = {std::string(TAMIS_SOURCE_DIR) + "/runtime/model/README.md"};
  ASSERT_EQ(RunFiltersBench(flags, nullptr, nullptr), 0);
  const nlohmann::json third = Report();
  EXPECT_EQ(third.at("results").at(1).at("search"), second.at("results").at(1).at("search"));
  EXPECT_NE(third.at("results").at(1).at("held_out"), second.at("results").at(1).at("held_out"));
  // A state of other settings is refused.
  flags.budget = 0.25;
  EXPECT_EQ(RunFiltersBench(flags, nullptr, nullptr), 2);
}

TEST_F(SelectionBenchTest, MistakesAreNamed) {
  const auto said = [](const auto& run) {
    ::testing::internal::CaptureStderr();
    EXPECT_GE(run(), 1);  // 1 or, of a flag, 2
    return ::testing::internal::GetCapturedStderr();
  };
  QualityFlags quality;
  quality.lab = lab_;
  quality.filters = "1,x";
  const auto run = [&] { return RunQualityBench(quality, nullptr, nullptr); };
  EXPECT_THAT(said(run), HasSubstr("--filters: \"1,x\""));
  quality.filters = "3,1";
  EXPECT_THAT(said(run), HasSubstr("filter_layers has 1 after 3"));
  quality.filters = "1,3";
  quality.lab.context_lens = {5};
  EXPECT_THAT(said(run), HasSubstr("--context-lens: 5"));
  quality.lab.context_lens = {320};
  quality.lab.texts = {"/nowhere"};
  EXPECT_THAT(said(run), HasSubstr("--texts: /nowhere"));
  FiltersFlags filters;
  filters.lab = lab_;
  filters.num_filters = 6;
  EXPECT_THAT(said([&] { return RunFiltersBench(filters, nullptr, nullptr); }),
              HasSubstr("max-dense-layers is 1"));
}

TEST(QualityCellsTest, VaryOneFactorAtATime) {
  QualityGrid grid;
  grid.num_layers = 30;
  grid.base.filter_layers = {2, 8, 17};
  grid.base.min_context = 0;
  grid.base.budget = {0, 0.067};
  for (int32_t i = 0; i < 20; ++i) grid.other_filters.push_back({1, 3 + i});
  const std::vector<Variant> cells = QualityCells(grid);
  EXPECT_EQ(cells.size(), kQualityCellsMax);
  grid.factors = {"wait", "scope"};
  EXPECT_LT(QualityCells(grid).size(), 10u);
  for (const Variant& cell : cells) {
    EXPECT_EQ(SelectionConfigProblem(cell.config, 30, 8192), "") << cell.name;
  }
}

}  // namespace
}  // namespace tamis
