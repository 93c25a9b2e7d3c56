// SPDX-License-Identifier: Apache-2.0
// Texts first, then tasks, over the same cells. The JSON is written after every group of cells, so
// that a run that is cut short leaves what it has measured.
#include "launcher/bench/quality.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/bench/bench_progress.h"
#include "launcher/bench/common.h"
#include "launcher/bench/quality_cells.h"
#include "launcher/bench/quality_report.h"
#include "launcher/bench/tasks.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

std::string Now() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", std::gmtime(&now));
  return text;
}

class QualityBench {
 public:
  explicit QualityBench(const QualityFlags& flags) : flags_(flags), start_(Clock::now()) {}

  absl::Status Run();

 private:
  absl::Status PlanCells();
  absl::Status PlanCases();
  absl::Status RunCells();
  absl::Status Report() const;
  bool OutOfTime() const {
    const std::chrono::duration<double> took = Clock::now() - start_;
    return flags_.time_limit_s > 0 && took.count() > flags_.time_limit_s;
  }

  const QualityFlags& flags_;
  Clock::time_point start_;
  LabInputs inputs_;
  std::vector<Variant> cells_;
  PlannedCases planned_;
  int64_t decode_tokens_max_ = 0;
  std::unique_ptr<Lab> lab_;
  std::unique_ptr<ThreadPool> pool_;
  CaseSet set_;
  nlohmann::json report_;
};

absl::Status QualityBench::PlanCells() {
  const ModelConfig& model = inputs_.files->config();
  QualityGrid grid;
  grid.num_layers = model.num_layers;
  grid.budgets = flags_.budgets;
  grid.filter_budgets = flags_.filter_budgets;
  grid.factors = flags_.factors;
  grid.base.min_context = 0;
  grid.base.sink_tokens = flags_.sinks;
  grid.base.recent_tokens = flags_.recents;
  grid.base.budget = {0, 0.067};
  TAMIS_ASSIGN_OR_RETURN(grid.base.filter_layers, ParseLayers("--filters", flags_.filters));
  for (const std::string& text : flags_.other_filters) {
    TAMIS_ASSIGN_OR_RETURN(grid.other_filters.emplace_back(),
                           ParseLayers("--other-filters", text));
  }
  std::vector<std::vector<int32_t>> sets = grid.other_filters;
  sets.push_back(grid.base.filter_layers);
  for (const std::vector<int32_t>& filters : sets) {
    SelectionConfig config = grid.base;
    config.filter_layers = filters;
    const std::string problem = SelectionConfigProblem(config, model.num_layers, 1 << 20);
    if (!problem.empty()) return absl::InvalidArgumentError(problem);
  }
  cells_ = QualityCells(grid);
  return absl::OkStatus();
}

absl::Status QualityBench::PlanCases() {
  TAMIS_ASSIGN_OR_RETURN(const std::vector<LabText> texts,
                         ReadTexts(flags_.lab.texts, *inputs_.tokenizer));
  for (const LabText& text : texts) {
    PlanText(text.name, text.tokens, flags_.lab.context_lens, flags_.lab.decode_tokens, &planned_);
    report_["texts"].push_back({{"name", text.name}, {"tokens", text.tokens.size()}});
  }
  if (planned_.cases.empty()) {
    return absl::InvalidArgumentError("--texts: none is longer than the least of --context-lens");
  }
  if (flags_.task_samples > 0) {
    // Around the needles stands the longest text.
    const auto longest = std::max_element(
        texts.begin(), texts.end(),
        [](const LabText& a, const LabText& b) { return a.tokens.size() < b.tokens.size(); });
    for (const int64_t length : flags_.task_lens) {
      if (length > inputs_.files->config().max_positions - flags_.lab.decode_tokens) {
        return absl::InvalidArgumentError(
            absl::StrCat("--task-lens: ", length, "; too long for the model"));
      }
      TAMIS_RETURN_IF_ERROR(PlanTasks(*inputs_.tokenizer, longest->tokens,
                                      {length, flags_.task_samples}, &planned_));
    }
  }
  decode_tokens_max_ = std::max(flags_.lab.decode_tokens, flags_.free_tokens);
  for (const PlannedCase& item : planned_.cases) {
    decode_tokens_max_ =
        std::max(decode_tokens_max_, static_cast<int64_t>(item.inputs.size()));
  }
  return absl::OkStatus();
}

absl::Status QualityBench::RunCells() {
  ExperimentOptions options;
  options.rows_max = flags_.lab.rows;
  options.free_tokens = std::min(flags_.free_tokens, decode_tokens_max_);
  options.probe_steps = flags_.probe_steps;
  options.eos_token_ids = inputs_.tokenizer->eos_token_ids();
  {
    BenchProgress progress("prefill", PrefillTokens(planned_));
    set_ = PrefillCases(*lab_, planned_, options.watch_tokens,
                        [&](int64_t tokens) { progress.Update(tokens); });
  }
  Experiment experiment(*lab_, *pool_, options, nullptr);
  experiment.RunDense(set_.cases);
  BenchProgress progress("cells", static_cast<int64_t>(cells_.size()));
  report_["cells"] = nlohmann::json::array();
  for (size_t first = 0, end = 0; first < cells_.size(); first = end) {
    while (end < cells_.size() && Experiment::Together(cells_[first], cells_[end])) ++end;
    if (OutOfTime()) {
      std::cerr << "tamis: the time limit leaves out " << cells_.size() - first << " cells\n";
      report_["left_out"] = cells_.size() - first;
      break;
    }
    const std::vector<Variant> group(cells_.begin() + static_cast<int64_t>(first),
                                     cells_.begin() + static_cast<int64_t>(end));
    const auto outcomes = experiment.Run(group, set_.cases);
    for (size_t i = 0; i < group.size(); ++i) {
      report_["cells"].push_back(CellJson(group[i], set_.cases, outcomes[i]));
    }
    TAMIS_RETURN_IF_ERROR(Report());
    progress.Update(static_cast<int64_t>(end));
  }
  return absl::OkStatus();
}

absl::Status QualityBench::Report() const {
  if (flags_.lab.json_path.empty()) return absl::OkStatus();
  return WriteWholeFile(flags_.lab.json_path, report_.dump(1) + "\n");
}

absl::Status QualityBench::Run() {
  TAMIS_ASSIGN_OR_RETURN(inputs_, OpenLabInputs(flags_.lab));
  TAMIS_RETURN_IF_ERROR(PlanCells());
  report_ = {{"benchmark", "quality"},
             {"model", flags_.lab.model.substr(flags_.lab.model.rfind('/') + 1)},
             {"date", Now()},
             {"device", inputs_.device_name},
             {"context_lens", flags_.lab.context_lens},
             {"decode_tokens", flags_.lab.decode_tokens},
             {"free_tokens", flags_.free_tokens},
             {"probe_steps", flags_.probe_steps}};
  TAMIS_RETURN_IF_ERROR(PlanCases());
  TAMIS_ASSIGN_OR_RETURN(lab_, MakeLab(inputs_, flags_.lab, planned_,
                                       decode_tokens_max_ + ExperimentOptions{}.watch_tokens));
  pool_ = std::make_unique<ThreadPool>(inputs_.num_threads);
  TAMIS_RETURN_IF_ERROR(RunCells());
  std::cout << QualityTable(report_.at("cells"));
  return absl::OkStatus();
}

}  // namespace

void AddQualityBench(CLI::App* app, QualityFlags* flags) {
  app->description(
      "Decodes long texts and retrieval tasks densely and in up to 60 sparse ways that differ in "
      "one setting from a base, and prints how far each is from dense decoding: attended part of "
      "the context, loss, KL divergence, agreement of the most likely token, tokens until a "
      "free-running answer differs, and the attention mass that sparse layers still see. Texts "
      "are prefilled once, in float32, on one CPU or GPU.");
  AddLabFlags(app, &flags->lab);
  app->add_option("--filters", flags->filters, "filter layers of the base, as 2,8,17")->required();
  app->add_option("--other-filters", flags->other_filters,
                  "another set to compare; may be given several times")
      ->allow_extra_args(false);
  app->add_option("--budgets", flags->budgets, "fractions of the context to attend to")
      ->delimiter(',')
      ->check(CLI::Range(0.001, 1.0));
  app->add_option("--filter-budgets", flags->filter_budgets,
                  "fractions that --other-filters are compared at (default 0.067)")
      ->delimiter(',')
      ->check(CLI::Range(0.001, 1.0));
  app->add_option("--factors", flags->factors, "what is varied (default: everything)")
      ->delimiter(',')
      ->check(CLI::IsMember(QualityFactors()));
  app->add_option("--sink-tokens", flags->sinks, "of the base (default 4)");
  app->add_option("--recent-tokens", flags->recents, "of the base (default 64)");
  app->add_option("--free-tokens", flags->free_tokens,
                  "tokens generated freely from each text; 0 = none (default 64)")
      ->check(CLI::Range(0, 1 << 16));
  app->add_option("--probe-steps", flags->probe_steps,
                  "steps in which attention mass is measured; 0 = none (default 16)")
      ->check(CLI::Range(0, 1 << 16));
  app->add_option("--tasks", flags->task_samples,
                  "questions of each kind at each length; 0 = none (default 8)")
      ->check(CLI::Range(0, 64));
  app->add_option("--task-lens", flags->task_lens, "tokens of the tasks' prompts (default 4096)")
      ->delimiter(',');
  app->add_option("--time-limit", flags->time_limit_s,
                  "seconds after which no further cells are begun; 0 = none (default)");
}

int RunQualityBench(const QualityFlags& flags, int*, char***) {
  return ExitCodeOf(QualityBench(flags).Run());
}

}  // namespace tamis
