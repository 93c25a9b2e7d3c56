// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/filters.h"

#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/bench/bench_progress.h"
#include "launcher/bench/common.h"
#include "launcher/bench/filters_state.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

using Layers = std::vector<int32_t>;

std::string NameOf(const Layers& filters) { return absl::StrJoin(filters, ","); }

ScoreKind ScoreOf(const std::string& name) {
  if (name == "softmax_max") return ScoreKind::kSoftmaxMax;
  if (name == "softmax_mean") return ScoreKind::kSoftmaxMean;
  return ScoreKind::kRawMax;
}

// The texts [begin, end) by their ids.
std::string HashOf(const std::vector<LabText>& texts, size_t begin, size_t end) {
  uint64_t hash = 1469598103934665603u;  // FNV-1a
  for (size_t i = begin; i < end; ++i) {
    for (const int32_t token : texts[i].tokens) {
      hash = (hash ^ static_cast<uint32_t>(token)) * 1099511628211u;
    }
  }
  return absl::StrCat(absl::Hex(hash));
}

// Everything that decides what is measured.
FiltersState::Fingerprints FingerprintsOf(const FiltersFlags& flags,
                                          const std::vector<LabText>& texts, size_t num_search) {
  const std::string search = absl::StrCat(
      flags.lab.model.substr(flags.lab.model.rfind('/') + 1), " texts ",
      HashOf(texts, 0, num_search), " lens ", absl::StrJoin(flags.lab.context_lens, ","),
      " decode ", flags.lab.decode_tokens, " wait ", flags.wait_layers, " score ", flags.score,
      " budget ", flags.budget, " sinks ", flags.sinks, " recents ", flags.recents);
  return {search, HashOf(texts, num_search, texts.size()),
          absl::StrCat("steps ", flags.similarity_steps)};
}

class FiltersBench {
 public:
  explicit FiltersBench(const FiltersFlags& flags) : flags_(flags) {}

  absl::Status Run();

 private:
  absl::Status Prepare();
  absl::Status Prefill();
  absl::Status Similarity();
  absl::Status Greedy();
  absl::Status HeldOut();
  void PrintSimilarity() const;
  void PrintSets() const;
  absl::Status WriteJson() const;

  SelectionConfig Selecting(const Layers& filters) const;
  FilterFigures Measure(const Layers& filters, const std::vector<Case>& cases);

  const FiltersFlags& flags_;
  LabInputs inputs_;
  FilterShape shape_;
  PlannedCases planned_;
  size_t num_search_ = 0;  // of the planned cases; the rest is held out
  std::unique_ptr<FiltersState> state_;
  std::unique_ptr<Lab> lab_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Experiment> experiment_;
  CaseSet set_;  // the search texts' cases first
  std::vector<Case> held_out_;
  std::vector<std::pair<std::string, Layers>> results_;  // where from, and the set
};

SelectionConfig FiltersBench::Selecting(const Layers& filters) const {
  SelectionConfig config;
  config.filter_layers = filters;
  config.wait_layers = flags_.wait_layers;
  config.score = ScoreOf(flags_.score);
  config.budget = {0, flags_.budget};
  config.sink_tokens = flags_.sinks;
  config.recent_tokens = flags_.recents;
  config.min_context = 0;
  return config;
}

absl::Status FiltersBench::Prepare() {
  TAMIS_ASSIGN_OR_RETURN(inputs_, OpenLabInputs(flags_.lab));
  const int64_t num_layers = inputs_.files->config().num_layers;
  const int64_t dense = flags_.dense_layers_max > 0 ? flags_.dense_layers_max : num_layers / 5;
  shape_ = {num_layers, flags_.num_filters, flags_.wait_layers, dense};
  if (const std::string problem = FilterShapeProblem(shape_); !problem.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--", problem));
  }
  TAMIS_ASSIGN_OR_RETURN(std::vector<LabText> texts,
                         ReadTexts(flags_.lab.texts, *inputs_.tokenizer));
  const size_t num_search_texts = texts.size();
  if (!flags_.held_out.empty()) {
    TAMIS_ASSIGN_OR_RETURN(const std::vector<LabText> others,
                           ReadTexts(flags_.held_out, *inputs_.tokenizer));
    texts.insert(texts.end(), others.begin(), others.end());
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    PlanText(texts[i].name, texts[i].tokens, flags_.lab.context_lens, flags_.lab.decode_tokens,
             &planned_);
    if (i + 1 == num_search_texts) num_search_ = planned_.cases.size();
  }
  if (num_search_ == 0) {
    return absl::InvalidArgumentError("--texts: none is longer than the least of --context-lens");
  }
  state_ = std::make_unique<FiltersState>(flags_.state_path,
                                          FingerprintsOf(flags_, texts, num_search_texts));
  return state_->Load();
}

absl::Status FiltersBench::Prefill() {
  TAMIS_ASSIGN_OR_RETURN(lab_,
                         MakeLab(inputs_, flags_.lab, planned_, flags_.lab.decode_tokens));
  pool_ = std::make_unique<ThreadPool>(inputs_.num_threads);
  BenchProgress progress("prefill", PrefillTokens(planned_));
  ExperimentOptions options;
  options.rows_max = flags_.lab.rows;
  set_ = PrefillCases(*lab_, planned_, /*watch_tokens=*/0,
                      [&](int64_t tokens) { progress.Update(tokens); });
  experiment_ = std::make_unique<Experiment>(*lab_, *pool_, options, nullptr);
  experiment_->RunDense(set_.cases);
  held_out_.assign(set_.cases.begin() + static_cast<int64_t>(num_search_), set_.cases.end());
  set_.cases.resize(num_search_);
  return absl::OkStatus();
}

absl::Status FiltersBench::Similarity() {
  const int64_t steps = std::min(flags_.similarity_steps, flags_.lab.decode_tokens);
  if (steps == 0) return absl::OkStatus();
  if (state_->similarity.num_layers == 0) {
    const auto rows = static_cast<int64_t>(set_.cases.size());
    BenchProgress progress("similarity", steps * ((rows + flags_.lab.rows - 1) / flags_.lab.rows));
    state_->similarity =
        MeasureSimilarity(*lab_, *pool_, Selecting({}), set_.cases, steps, flags_.lab.rows,
                          [&](int64_t done) { progress.Update(done); });
    TAMIS_RETURN_IF_ERROR(state_->Save());
  }
  results_.emplace_back("similarity", BestBySimilarity(state_->similarity, shape_));
  return absl::OkStatus();
}

FilterFigures FiltersBench::Measure(const Layers& filters, const std::vector<Case>& cases) {
  Variant variant;
  variant.config = Selecting(filters);
  TokenFigures sum;
  const std::vector<std::vector<Outcome>> outcomes = experiment_->Run({variant}, cases);
  for (const Outcome& outcome : outcomes.front()) sum.Add(outcome.figures);
  const auto tokens = static_cast<double>(sum.tokens);
  return {sum.loss / tokens, sum.dense_loss / tokens, sum.kl / tokens,
          static_cast<double>(sum.agreements) / tokens};
}

absl::Status FiltersBench::Greedy() {
  absl::Status saved;
  // Sets whose cost is asked for: the rounds that grow, and the passes that replace. An estimate.
  const int64_t sets = shape_.num_layers * (shape_.num_filters * (1 + flags_.passes) - 1);
  BenchProgress progress("greedy search", sets);
  int64_t asked = 0;
  const auto cost = [&](const Layers& filters) {
    progress.Update(++asked);
    auto found = state_->search.find(filters);
    if (found == state_->search.end()) {
      found = state_->search.emplace(filters, Measure(filters, set_.cases)).first;
      saved.Update(state_->Save());
    }
    return flags_.objective == "kl" ? found->second.kl : found->second.loss;
  };
  results_.emplace_back(absl::StrCat("greedy by ", flags_.objective),
                        GreedyFilters(shape_, flags_.passes, cost));
  progress.Update(sets);
  return saved;
}

absl::Status FiltersBench::HeldOut() {
  for (const std::string& text : flags_.compare) {
    TAMIS_ASSIGN_OR_RETURN(const Layers filters, ParseLayers("--compare", text));
    const std::string problem =
        SelectionConfigProblem(Selecting(filters), shape_.num_layers, 1 << 20);
    if (!problem.empty()) return absl::InvalidArgumentError(absl::StrCat("--compare: ", problem));
    results_.emplace_back("given", filters);
  }
  for (const auto& [from, filters] : results_) {
    if (!state_->search.contains(filters)) {
      state_->search[filters] = Measure(filters, set_.cases);
    }
    if (!held_out_.empty() && !state_->held_out.contains(filters)) {
      state_->held_out[filters] = Measure(filters, held_out_);
    }
    TAMIS_RETURN_IF_ERROR(state_->Save());
  }
  return absl::OkStatus();
}

// Rows are the layers that select, columns those whose attention is held; 0 to 9 is tenths.
void FiltersBench::PrintSimilarity() const {
  const LayerSimilarity& similarity = state_->similarity;
  if (similarity.num_layers == 0) return;
  std::cout << absl::StrFormat(
      "Attention mass of later layers that a layer's first tokens hold, at %.1f %%: mean, and "
      "each layer's (9 = 90 %% and more)\n",
      100 * flags_.budget);
  for (int64_t a = 0; a + 1 < similarity.num_layers; ++a) {
    double sum = 0.0;
    std::string row(static_cast<size_t>(a + 1), ' ');
    for (int64_t b = a + 1; b < similarity.num_layers; ++b) {
      sum += similarity.at(a, b);
      row += absl::StrCat(std::min(9, static_cast<int>(10 * similarity.at(a, b))));
    }
    std::cout << absl::StrFormat("layer %2d  %.3f  %s\n", a,
                                 sum / static_cast<double>(similarity.num_layers - 1 - a), row);
  }
}

void FiltersBench::PrintSets() const {
  std::cout << absl::StrFormat("\n%-16s %-16s %10s %8s %8s   on held-out texts: %6s %8s %8s\n",
                               "found by", "filter layers", "loss +%", "KL", "top-1 %", "loss +%",
                               "KL", "top-1 %");
  const auto line = [](const FilterFigures& figures) {
    return absl::StrFormat("%10.3f %8.5f %8.2f", 100 * (figures.loss / figures.dense_loss - 1),
                           figures.kl, 100 * figures.top1_agreement);
  };
  for (const auto& [from, filters] : results_) {
    std::cout << absl::StrFormat("%-16s %-16s %s", from, NameOf(filters),
                                 line(state_->search.at(filters)));
    const auto found = state_->held_out.find(filters);
    if (found != state_->held_out.end()) {
      std::cout << "                " << line(found->second);
    }
    std::cout << "\n";
  }
  const auto chosen = std::find_if(results_.begin(), results_.end(), [](const auto& result) {
    return result.first.starts_with("greedy");
  });
  if (chosen == results_.end()) return;
  std::cout << "\nFor `tamis serve --config`:\n"
            << "selection-filter-layers: " << NameOf(chosen->second) << "\n"
            << "selection-wait-layers: " << flags_.wait_layers << "\n"
            << "selection-score: " << flags_.score << "\n"
            << "selection-sink-tokens: " << flags_.sinks << "\n"
            << "selection-recent-tokens: " << flags_.recents << "\n"
            << "num-selected-tokens: " << flags_.budget << "\n";
}

absl::Status FiltersBench::WriteJson() const {
  if (flags_.lab.json_path.empty()) return absl::OkStatus();
  nlohmann::json report = {{"benchmark", "filters"},
                           {"model", flags_.lab.model.substr(flags_.lab.model.rfind('/') + 1)},
                           {"device", inputs_.device_name},
                           {"num_layers", shape_.num_layers},
                           {"max_dense_layers", shape_.dense_layers_max},
                           {"wait_layers", shape_.wait_layers},
                           {"score", flags_.score},
                           {"budget", flags_.budget},
                           {"objective", flags_.objective},
                           {"similarity", state_->similarity.held}};
  for (const auto& [from, filters] : results_) {
    nlohmann::json result = {{"found_by", from},
                             {"search", FiguresJson(filters, state_->search.at(filters))}};
    const auto found = state_->held_out.find(filters);
    if (found != state_->held_out.end()) result["held_out"] = FiguresJson(filters, found->second);
    report["results"].push_back(result);
  }
  for (const auto& [filters, figures] : state_->search) {
    report["tried"].push_back(FiguresJson(filters, figures));
  }
  return WriteWholeFile(flags_.lab.json_path, report.dump(1) + "\n");
}

absl::Status FiltersBench::Run() {
  TAMIS_RETURN_IF_ERROR(Prepare());
  TAMIS_RETURN_IF_ERROR(Prefill());
  TAMIS_RETURN_IF_ERROR(Similarity());
  if (flags_.objective != "none") TAMIS_RETURN_IF_ERROR(Greedy());
  TAMIS_RETURN_IF_ERROR(HeldOut());
  PrintSimilarity();
  PrintSets();
  return WriteJson();
}

}  // namespace

void AddFiltersBench(CLI::App* app, FiltersFlags* flags) {
  app->description(
      "Searches the layers that should choose the tokens for those after them. First by "
      "similarity: how much of each later layer's attention the tokens hold that a layer would "
      "choose. Then greedily by what decoding comes to: the layer is added whose set has the least "
      "loss on --texts, and at the end each layer is tried against all replacements. Prints both "
      "sets, their figures on --held-out texts too, and the YAML to serve with. With --state it "
      "can be stopped at any time and goes on where it was.");
  AddLabFlags(app, &flags->lab);
  app->add_option("--held-out", flags->held_out, "other texts, to report on only");
  app->add_option("--compare", flags->compare,
                  "a set to report beside those found, as 2,8,18; may be given several times")
      ->allow_extra_args(false);
  app->add_option("--num-filters", flags->num_filters, "filter layers to find (default 3)");
  app->add_option("--max-dense-layers", flags->dense_layers_max,
                  "layers that attend to everything, at most: those before the first filter "
                  "layer, filter and wait layers (default: a fifth of all)");
  app->add_option("--wait-layers", flags->wait_layers, "dense layers after each (default 0)");
  app->add_option("--passes", flags->passes, "rounds of replacements at the end (default 1)");
  app->add_option("--objective", flags->objective,
                  "what the greedy search minimises: loss of the texts, kl from dense decoding, "
                  "or none = no greedy search (default loss)")
      ->check(CLI::IsMember({"loss", "kl", "none"}));
  app->add_option("--score", flags->score, "raw_max, softmax_max, softmax_mean (default raw_max)")
      ->check(CLI::IsMember({"raw_max", "softmax_max", "softmax_mean"}));
  app->add_option("--budget", flags->budget, "fraction of the context to attend to (default 0.067)")
      ->check(CLI::Range(0.001, 1.0));
  app->add_option("--sink-tokens", flags->sinks, "first tokens, always attended (default 4)");
  app->add_option("--recent-tokens", flags->recents, "last tokens, always attended (default 64)");
  app->add_option("--similarity-steps", flags->similarity_steps,
                  "decoded tokens of each text that similarity is measured over; 0 = none "
                  "(default 16)");
  app->add_option("--state", flags->state_path, "a file that keeps what was measured");
}

int RunFiltersBench(const FiltersFlags& flags, int*, char***) {
  return ExitCodeOf(FiltersBench(flags).Run());
}

}  // namespace tamis
