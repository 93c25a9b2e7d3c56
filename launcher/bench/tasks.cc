// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/tasks.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

constexpr const char* kColours[] = {"red",  "blue",  "green",  "white",
                                    "pink", "black", "yellow", "brown"};
constexpr const char* kGoods[] = {"apple", "book",  "chair", "door",  "egg",  "fish",
                                  "glass", "hat",   "knife", "lamp",  "map",  "nail",
                                  "orange", "pencil", "ring", "stone", "table", "vase"};
constexpr size_t kNumGoods = std::size(kGoods);

// A sentence and where in the haystack it stands, as a part of its length.
struct Hidden {
  double depth = 0.0;
  std::string text;
};

class Tasks {
 public:
  Tasks(const Tokenizer& tokenizer, const std::vector<int32_t>& haystack,
        const TaskOptions& options, PlannedCases* planned)
      : tokenizer_(tokenizer), haystack_(haystack), options_(options), planned_(planned) {}

  absl::Status AddNeedles(size_t per_text, const std::string& kind);
  absl::Status AddTwoStage();

 private:
  absl::StatusOr<std::vector<int32_t>> Encode(const std::string& text, bool first) {
    return tokenizer_.Encode(text, /*add_bos=*/first, /*parse_special=*/false);
  }
  // The haystack with `hidden` in it becomes a prefix. Room is left for the question.
  absl::Status AddPrefix(const std::vector<Hidden>& hidden);
  absl::Status AddQuestion(const std::string& kind, const std::string& question,
                           const std::string& answer);

  const Tokenizer& tokenizer_;
  const std::vector<int32_t>& haystack_;
  TaskOptions options_;
  PlannedCases* planned_;
  std::mt19937 random_{20260101};
};

absl::Status Tasks::AddPrefix(const std::vector<Hidden>& hidden) {
  TAMIS_ASSIGN_OR_RETURN(
      std::vector<int32_t> tokens,
      Encode("Read this text carefully. A question follows at its end.\n\n", true));
  constexpr int64_t kQuestionRoom = 64;
  const int64_t length = options_.context_len - kQuestionRoom;
  int64_t used = 0;
  for (const Hidden& item : hidden) {
    const auto until = static_cast<int64_t>(item.depth * static_cast<double>(length));
    TAMIS_ASSIGN_OR_RETURN(const std::vector<int32_t> sentence,
                           Encode(absl::StrCat("\n", item.text, "\n"), false));
    for (; static_cast<int64_t>(tokens.size()) < until; ++used) {
      tokens.push_back(haystack_[static_cast<size_t>(used)]);
    }
    tokens.insert(tokens.end(), sentence.begin(), sentence.end());
  }
  for (; static_cast<int64_t>(tokens.size()) < length; ++used) {
    tokens.push_back(haystack_[static_cast<size_t>(used)]);
  }
  planned_->prefixes.push_back(std::move(tokens));
  return absl::OkStatus();
}

absl::Status Tasks::AddQuestion(const std::string& kind, const std::string& question,
                                const std::string& answer) {
  TAMIS_ASSIGN_OR_RETURN(std::vector<int32_t> asked, Encode("\n\n" + question, false));
  TAMIS_ASSIGN_OR_RETURN(const std::vector<int32_t> told, Encode(answer, false));
  PlannedCase item;
  item.name = absl::StrCat(kind, " ", planned_->cases.size());
  item.kind = kind;
  item.prefix = planned_->prefixes.size() - 1;
  item.fork_at = static_cast<int64_t>(planned_->prefixes.back().size());
  // The question's last token is decoded, so that the answer's first one is predicted sparsely.
  item.inputs = {asked.back()};
  asked.pop_back();
  item.suffix = std::move(asked);
  item.inputs.insert(item.inputs.end(), told.begin(), told.end() - 1);
  item.targets = told;
  planned_->cases.push_back(std::move(item));
  return absl::OkStatus();
}

absl::Status Tasks::AddNeedles(size_t per_text, const std::string& kind) {
  const auto samples = static_cast<size_t>(options_.samples);
  for (size_t first = 0; first < samples; first += per_text) {
    std::vector<Hidden> hidden;
    std::vector<std::string> colours, numbers;
    for (size_t i = 0; i < per_text; ++i) {
      colours.emplace_back(kColours[(first + i) % std::size(kColours)]);
      numbers.push_back(absl::StrCat(10000 + random_() % 90000));
      const double depth = per_text > 1 ? (static_cast<double>(i) + 0.5) / double(per_text)
                                        : (static_cast<double>(first) + 0.5) / double(samples);
      hidden.push_back({depth, absl::StrCat("The secret number of the ", colours[i], " box is ",
                                            numbers[i], ". Remember it.")});
    }
    TAMIS_RETURN_IF_ERROR(AddPrefix(hidden));
    for (size_t i = 0; i < per_text && first + i < samples; ++i) {
      TAMIS_RETURN_IF_ERROR(AddQuestion(
          kind,
          absl::StrCat("Question: What is the secret number of the ", colours[i],
                       " box?\nAnswer: The secret number of the ", colours[i], " box is"),
          absl::StrCat(" ", numbers[i])));
    }
  }
  return absl::OkStatus();
}

absl::Status Tasks::AddTwoStage() {
  constexpr int64_t kQuestions = 4;  // of one list
  for (int64_t first = 0; first < options_.samples; first += kQuestions) {
    std::vector<Hidden> hidden;
    std::vector<uint32_t> prices;
    for (size_t i = 0; i < kNumGoods; ++i) {
      prices.push_back(2 + random_() % 8);
      hidden.push_back({(static_cast<double>(i) + 0.5) / double(kNumGoods),
                        absl::StrCat("The ", kGoods[i], " costs ", prices[i], " coins.")});
    }
    TAMIS_RETURN_IF_ERROR(AddPrefix(hidden));
    for (int64_t i = first; i < std::min(options_.samples, first + kQuestions); ++i) {
      const size_t a = random_() % kNumGoods;
      const size_t b = (a + 1 + random_() % (kNumGoods - 1)) % kNumGoods;
      TAMIS_RETURN_IF_ERROR(AddQuestion(
          "two_stage",
          absl::StrCat("Question: What do the ", kGoods[a], " and the ", kGoods[b],
                       " cost together?\nAnswer: The ", kGoods[a], " costs"),
          absl::StrCat(" ", prices[a], " coins. The ", kGoods[b], " costs ", prices[b],
                       " coins. Together they cost ", prices[a] + prices[b], " coins.")));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PlanTasks(const Tokenizer& tokenizer, const std::vector<int32_t>& haystack,
                       const TaskOptions& options, PlannedCases* planned) {
  if (static_cast<int64_t>(haystack.size()) < options.context_len) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text around the needles has ", haystack.size(), " tokens; tasks of ",
                     options.context_len, " tokens need at least as many"));
  }
  Tasks tasks(tokenizer, haystack, options, planned);
  TAMIS_RETURN_IF_ERROR(tasks.AddNeedles(1, "needle"));
  TAMIS_RETURN_IF_ERROR(tasks.AddNeedles(4, "multi_needle"));
  return tasks.AddTwoStage();
}

}  // namespace tamis
