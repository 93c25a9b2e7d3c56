// SPDX-License-Identifier: Apache-2.0
// Files with OmniKV's documented keys start the server with OmniKV's meaning; what is not
// implemented is refused by name, what means nothing is named in a warning.
#include "launcher/omnikv_keys.h"

#include <cstdio>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_file.h"

namespace tamis {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Outcome {
  ServeConfig config;
  std::vector<std::string> problems;
};

Outcome Load(const std::string& content, const NamedValues& flags = {}) {
  const auto values = ReadYaml(WriteTempFile("omnikv.json", content));
  EXPECT_TRUE(values.ok()) << values.status();
  Outcome outcome;
  if (values.ok()) outcome.config = MakeServeConfig(*values, flags, &outcome.problems);
  return outcome;
}

// One more key in an otherwise complete file.
Outcome LoadWith(const std::string& entry) {
  return Load(R"({"model_name": "m", "model_cls": "multi", "do_select_layers": "2,8,18", )" +
              entry + "}");
}

TEST(OmniKvKeys, AFileAsUsersHaveIt) {
  const Outcome outcome = Load(R"({
    "model_name": "/models/llama-3-8b-instruct-262k",
    "model_cls": "multi",
    "cache_cls": "multi",
    "max_context_len": 128500,
    "use_chat_template": true,
    "cot": false,
    "load_in_8bit": false,
    "load_in_4bit": false,
    "use_flash_attn": true,
    "do_select_layers": "2,8,18",
    "num_of_selected_tokens": 0.067,
    "num_wait_load_layers": 1,
    "selector_cls": "last",
    "window_size": 16,
    "dense_more": true,
    "real_offload": true,
    "cpu_num_threads": 8,
    "use_fixed_prompt": true,
    "rope_factor": -1
  })");
  EXPECT_THAT(outcome.problems, IsEmpty());
  EXPECT_EQ(outcome.config.model.path, "/models/llama-3-8b-instruct-262k");
  const SelectionConfig& selection = outcome.config.selection;
  EXPECT_THAT(selection.filter_layers, ElementsAre(2, 8, 18));
  EXPECT_EQ(selection.wait_layers, 1);
  EXPECT_EQ(selection.budget, (SelectionBudget{0, 0.067}));
  EXPECT_EQ(selection.score, ScoreKind::kRawMax);
  EXPECT_EQ(selection.candidates, SelectionCandidates::kPrompt);
  EXPECT_EQ(selection.scope, SelectionScope::kGlobal);
  EXPECT_EQ(selection.sink_tokens, 0);
  EXPECT_EQ(selection.recent_tokens, 0);
  EXPECT_EQ(selection.min_context, 0);
  EXPECT_EQ(SelectionConfigProblem(selection, 32, 128500), "");
  EXPECT_THAT(outcome.config.warnings,
              ElementsAre(HasSubstr("cache_cls has no effect"), HasSubstr("max_context_len"),
                          HasSubstr("use_chat_template"), HasSubstr("cot"),
                          HasSubstr("use_flash_attn"), HasSubstr("real_offload"),
                          HasSubstr("cpu_num_threads"), HasSubstr("use_fixed_prompt")));
}

// What the released code does when its file says no more than it must.
TEST(OmniKvKeys, WhatIsLeftOutHasOmniKvsDefaults) {
  const Outcome outcome =
      Load(R"({"model_name": "m", "model_cls": "multi", "do_select_layers": "4,19,41"})");
  EXPECT_THAT(outcome.problems, IsEmpty());
  const SelectionConfig& selection = outcome.config.selection;
  EXPECT_EQ(selection.wait_layers, 2);
  EXPECT_EQ(selection.budget, (SelectionBudget{4096, 0.0}));
  EXPECT_EQ(selection.score, ScoreKind::kSoftmaxMax);
  EXPECT_EQ(selection.lse, ops::LseScope::kCandidates);
  EXPECT_EQ(selection.candidates, SelectionCandidates::kPrompt);
  EXPECT_EQ(SelectionConfigProblem(selection, 80, 32768), "");
  EXPECT_THAT(outcome.config.warnings, IsEmpty());
}

// The released window selectors: what is in the window is attended anyway and does not compete.
TEST(OmniKvKeys, WindowSelectors) {
  const Outcome outcome = LoadWith(R"("selector_cls": "exp", "window_size": 24)");
  EXPECT_THAT(outcome.problems, IsEmpty());
  const SelectionConfig& selection = outcome.config.selection;
  EXPECT_EQ(selection.score, ScoreKind::kExp);
  EXPECT_EQ(selection.window_size, 24);
  EXPECT_EQ(selection.recent_tokens, 24);
  EXPECT_EQ(selection.lse, ops::LseScope::kCandidates);
  EXPECT_EQ(SelectionConfigProblem(selection, 32, 32768), "");
  EXPECT_EQ(SelectionDeviceProblem(selection, DeviceKind::kCpu, 1, 8), "");
  EXPECT_THAT(SelectionDeviceProblem(selection, DeviceKind::kCuda, 1, 8),
              HasSubstr("score is exp, which is computed on CPUs only"));
  SelectionConfig by_head;
  by_head.filter_layers = {2};
  by_head.scope = SelectionScope::kKvHead;
  EXPECT_EQ(SelectionDeviceProblem(by_head, DeviceKind::kCuda, 2047, 32), "");
  EXPECT_THAT(
      SelectionDeviceProblem(by_head, DeviceKind::kCuda, 2048, 32),
      HasSubstr("65536 lists of --max-num-seqs sequences; on GPUs allowed are at most 65535"));
  EXPECT_EQ(LoadWith(R"("selector_cls": "uniform")").config.selection.recent_tokens, 16);
}

TEST(OmniKvKeys, FlagsAndOurOwnKeysWin) {
  const std::string file =
      R"({"model_name": "m", "model_cls": "multi", "do_select_layers": "2,8,18",
          "selection-candidates": "history", "selection_lse": "all", "port": 5})";
  const Outcome outcome =
      Load(file, {{"model", "other.gguf"}, {"num-selected-tokens", "100"}, {"port", "0"}});
  EXPECT_THAT(outcome.problems, IsEmpty());
  EXPECT_EQ(outcome.config.model.path, "other.gguf");
  EXPECT_EQ(outcome.config.selection.budget, (SelectionBudget{100, 0.0}));
  EXPECT_EQ(outcome.config.selection.candidates, SelectionCandidates::kHistory);
  EXPECT_EQ(outcome.config.selection.lse, ops::LseScope::kAll);
  EXPECT_EQ(outcome.config.server.port, 0);
}

TEST(OmniKvKeys, InAFileOfOursEachStandsForOneOption) {
  const Outcome outcome = Load(
      "model: m.gguf\ndo_select_layers: [2, 8, 18]\nnum_of_selected_tokens: 512\n"
      "num_wait_load_layers: 1\nselector_cls: softmax_before_last\n");
  EXPECT_THAT(outcome.problems, IsEmpty());
  const SelectionConfig& selection = outcome.config.selection;
  const SelectionConfig ours;
  EXPECT_THAT(selection.filter_layers, ElementsAre(2, 8, 18));
  EXPECT_EQ(selection.budget, (SelectionBudget{512, 0.0}));
  EXPECT_EQ(selection.wait_layers, 1);
  EXPECT_EQ(selection.score, ScoreKind::kSoftmaxMax);
  EXPECT_EQ(selection.lse, ours.lse);
  EXPECT_EQ(selection.candidates, ours.candidates);
  EXPECT_EQ(selection.sink_tokens, ours.sink_tokens);
  EXPECT_EQ(selection.recent_tokens, ours.recent_tokens);
  EXPECT_EQ(selection.min_context, ours.min_context);
}

TEST(OmniKvKeys, ADenseModelSelectsNothing) {
  const Outcome outcome =
      Load(R"({"model_name": "m", "model_cls": "raw_llama", "do_select_layers": "2,8,18"})");
  EXPECT_THAT(outcome.problems, IsEmpty());
  EXPECT_FALSE(outcome.config.selection.enabled());
  EXPECT_THAT(outcome.config.warnings, ElementsAre(HasSubstr("do_select_layers has no effect")));
}

TEST(OmniKvKeys, RefusesWhatWouldChangeResults) {
  const struct {
    const char* entry;
    const char* problem;
  } cases[] = {
      {R"("load_in_4bit": true)",
       "config file: load_in_4bit: \"true\"; weights are not quantised here; allowed is false"},
      {R"("load_in_8bit": true)", "config file: load_in_8bit: \"true\""},
      {R"("dense_more": false)", "config file: dense_more: \"false\"; wait layers are dense"},
      {R"("use_sink_cache": true)", "config file: use_sink_cache: \"true\""},
      {R"("rope_factor": 4)", "config file: rope_factor: \"4\"; dynamic scaling"},
      {R"("cache_cls": "lazy")", "config file: cache_cls: \"lazy\"; allowed are multi"},
      {R"("selector_cls": "mean")",
       "config file: selector_cls: \"mean\"; allowed are last, softmax_before_last, uniform, exp"},
      {R"("num_of_selected_tokens": 1.5)",
       "config file: num_of_selected_tokens: --num-selected-tokens: \"1.5\"; allowed"},
      {R"("num_wait_load_layers": -1)", "config file: num_wait_load_layers: --selection-wait"},
      {R"("num-selected-tokens": 5, "num_of_selected_tokens": 6)",
       "config file: num_of_selected_tokens: \"6\"; num-selected-tokens is given too, as \"5\""},
      {R"("selected_layers": "2")", "config file: selected_layers: no such option"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(LoadWith(c.entry).problems, ElementsAre(HasSubstr(c.problem))) << c.entry;
  }
  for (const char* other :
       {"token", "token_once", "brutal_offload", "raw_h2o", "infllm", "quest"}) {
    const std::string file = std::string(R"({"model_name": "m", "model_cls": ")") + other + "\"}";
    EXPECT_THAT(Load(file).problems, ElementsAre(HasSubstr("config file: model_cls: ")));
  }
  EXPECT_THAT(Load(R"({"model_name": "m", "model_cls": "multi"})").problems,
              ElementsAre(HasSubstr("do_select_layers: not given")));
}

TEST(OmniKvKeys, NamesWhatHasNoEffect) {
  for (const char* entry :
       {R"("real_offload": false)", R"("skip_threshold": 0.4)", R"("hh_ratio": 0.15)",
        R"("num_of_selected_tokens_3": 128)", R"("batch_size": 1)", R"("offload_sid": 12)"}) {
    const Outcome outcome = LoadWith(entry);
    EXPECT_THAT(outcome.problems, IsEmpty()) << entry;
    EXPECT_THAT(outcome.config.warnings, ElementsAre(HasSubstr("has no effect"))) << entry;
  }
}

}  // namespace
}  // namespace tamis
