// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/quality_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tamis {
namespace {

// Cases that are reported together.
struct Sums {
  int64_t cases = 0;
  TokenFigures figures;
  double attended = 0.0;
  FreeFigures free;
  int64_t exact = 0, dense_exact = 0;

  void Add(const Outcome& outcome) {
    ++cases;
    figures.Add(outcome.figures);
    attended += outcome.attended;
    free.tokens += outcome.free.tokens;
    free.dense_tokens += outcome.free.dense_tokens;
    free.common_prefix += outcome.free.common_prefix;
    exact += outcome.exact ? 1 : 0;
    dense_exact += outcome.dense_exact ? 1 : 0;
  }
};

double Ratio(double a, double b) { return b == 0.0 ? 0.0 : a / b; }

nlohmann::json TextJson(const Sums& sums) {
  const TokenFigures& figures = sums.figures;
  const auto tokens = static_cast<double>(figures.tokens);
  const double kl = Ratio(figures.kl, tokens);
  const double variance = Ratio(figures.kl_squared, tokens) - kl * kl;
  return {{"cases", sums.cases},
          {"tokens", figures.tokens},
          {"attended", Ratio(sums.attended, static_cast<double>(sums.cases))},
          {"loss", Ratio(figures.loss, tokens)},
          {"dense_loss", Ratio(figures.dense_loss, tokens)},
          {"loss_increase_percent", 100 * (Ratio(figures.loss, figures.dense_loss) - 1)},
          {"kl", kl},
          {"kl_standard_error", std::sqrt(std::max(0.0, Ratio(variance, tokens)))},
          {"top1_agreement", Ratio(static_cast<double>(figures.agreements), tokens)},
          {"free_tokens", sums.free.tokens},
          {"free_dense_tokens", sums.free.dense_tokens},
          {"free_common_prefix", sums.free.common_prefix}};
}

// Accuracy says something where the dense model gets half of the answers right; the answer's
// log-probability always does.
nlohmann::json TaskJson(const Sums& sums) {
  const auto cases = static_cast<double>(sums.cases);
  return {{"cases", sums.cases},
          {"accuracy", static_cast<double>(sums.exact) / cases},
          {"dense_accuracy", static_cast<double>(sums.dense_exact) / cases},
          {"accuracy_counts", 2 * sums.dense_exact >= sums.cases},
          {"answer_log_probability", -sums.figures.loss / cases},
          {"dense_answer_log_probability", -sums.figures.dense_loss / cases},
          {"top1_agreement", Ratio(static_cast<double>(sums.figures.agreements),
                                   static_cast<double>(sums.figures.tokens))}};
}

const char* NameOfPolicy(const Variant& variant) {
  if (variant.forced_only) return "sinks_and_recents";
  switch (variant.policy) {
    case AttendPolicy::kSelection: return "selection";
    case AttendPolicy::kLayerOracle: return "layer_oracle";
    case AttendPolicy::kHeavyHitters: return "heavy_hitters";
  }
  return "";
}

std::vector<double> MeanRecall(const std::vector<Outcome>& outcomes) {
  std::vector<double> mean;
  double count = 0.0;
  for (const Outcome& outcome : outcomes) {
    if (outcome.recall.empty()) continue;
    mean.resize(outcome.recall.size(), 0.0);
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += outcome.recall[i];
    ++count;
  }
  for (double& value : mean) value /= count;
  return mean;
}

}  // namespace

const char* NameOfScore(ScoreKind score) {
  switch (score) {
    case ScoreKind::kRawMax: return "raw_max";
    case ScoreKind::kSoftmaxMax: return "softmax_max";
    case ScoreKind::kSoftmaxMean: return "softmax_mean";
    case ScoreKind::kUniform: return "uniform";
    case ScoreKind::kExp: return "exp";
  }
  return "";
}

nlohmann::json CellJson(const Variant& variant, const std::vector<Case>& cases,
                        const std::vector<Outcome>& outcomes) {
  const SelectionConfig& config = variant.config;
  nlohmann::json cell = {
      {"name", variant.name},
      {"factor", variant.factor},
      {"policy", NameOfPolicy(variant)},
      {"filter_layers", config.filter_layers},
      {"wait_layers", config.wait_layers},
      {"score", NameOfScore(config.score)},
      {"scope", config.scope == SelectionScope::kKvHead ? "kv_head" : "global"},
      {"candidates", config.candidates == SelectionCandidates::kPrompt ? "prompt" : "history"},
      {"budget", config.budget.fraction},
      {"sink_tokens", config.sink_tokens},
      {"recent_tokens", config.recent_tokens}};
  std::map<std::string, Sums> texts, tasks;
  for (size_t c = 0; c < cases.size(); ++c) {
    if (cases[c].kind == kTextCase) {
      const auto context_len = cases[c].begin + static_cast<int64_t>(cases[c].inputs.size());
      texts["all"].Add(outcomes[c]);
      texts[absl::StrCat(context_len)].Add(outcomes[c]);
      if (context_len >= 4096) texts["from 4096 on"].Add(outcomes[c]);
    } else {
      tasks[cases[c].kind].Add(outcomes[c]);
    }
  }
  for (const auto& [name, sums] : texts) cell["texts"][name] = TextJson(sums);
  for (const auto& [name, sums] : tasks) cell["tasks"][name] = TaskJson(sums);
  cell["recall"] = MeanRecall(outcomes);
  return cell;
}

std::string QualityTable(const nlohmann::json& cells) {
  std::string table = absl::StrFormat(
      "%-12s %-34s %8s %8s %9s %8s %7s %7s\n", "factor", "setting", "attend%", "loss+%", "KL",
      "top-1%", "same", "recall%");
  std::string tasks;
  for (const nlohmann::json& cell : cells) {
    const std::string factor = cell.at("factor"), name = cell.at("name");
    if (cell.contains("texts")) {
      const nlohmann::json& texts = cell.at("texts").at("all");
      double recall = 0.0;
      for (const double value : cell.at("recall")) recall += value;
      const auto layers = static_cast<double>(cell.at("recall").size());
      absl::StrAppendFormat(
          &table, "%-12s %-34s %8.2f %8.2f %9.5f %8.2f %7.1f %7.1f\n", factor, name,
          100 * texts.at("attended").get<double>(),
          texts.at("loss_increase_percent").get<double>(), texts.at("kl").get<double>(),
          100 * texts.at("top1_agreement").get<double>(),
          Ratio(texts.at("free_common_prefix").get<double>(), texts.at("cases").get<double>()),
          100 * Ratio(recall, layers));
    }
    if (!cell.contains("tasks")) continue;
    absl::StrAppendFormat(&tasks, "%-12s %-34s", factor, name);
    for (const auto& [kind, task] : cell.at("tasks").items()) {
      absl::StrAppendFormat(&tasks, " | %s %.2f of %.2f, log p %.2f of %.2f", kind,
                            task.at("accuracy").get<double>(),
                            task.at("dense_accuracy").get<double>(),
                            task.at("answer_log_probability").get<double>(),
                            task.at("dense_answer_log_probability").get<double>());
    }
    tasks += "\n";
  }
  if (tasks.empty()) return table;
  return absl::StrCat(table, "\nanswers that are right, and their log-probability, of the dense ",
                      "model's:\n", tasks);
}

}  // namespace tamis
