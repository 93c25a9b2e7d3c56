// SPDX-License-Identifier: Apache-2.0
// Keys and defaults as the released code reads them: model_cls multi, one request at a time. What a
// key means there and here stands in one line each.
#include "launcher/omnikv_keys.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace tamis {
namespace {

struct Alias {
  const char* key;
  const char* option;
};
constexpr Alias kAliases[] = {
    {"model_name", "model"},
    {"do_select_layers", "selection-filter-layers"},
    {"num_wait_load_layers", "selection-wait-layers"},
    {"num_of_selected_tokens", "num-selected-tokens"},
    {"selector_cls", "selection-score"},
    {"window_size", "selection-window-size"},
};

struct Word {
  const char* omnikv;
  const char* ours;
};
constexpr Word kSelectors[] = {{"last", "raw_max"},
                               {"softmax_before_last", "softmax_max"},
                               {"uniform", "uniform"},
                               {"exp", "exp"}};

// What must have one of these values, because another would change results.
struct Fixed {
  const char* key;
  const char* allowed[2];
  const char* reason;
};
constexpr Fixed kFixed[] = {
    {"load_in_8bit", {"false", ""}, "weights are not quantised here"},
    {"load_in_4bit", {"false", ""}, "weights are not quantised here"},
    {"dense_more", {"true", ""}, "wait layers are dense"},
    {"use_sink_cache", {"false", ""}, "no token is ever dropped"},
};

struct Meaningless {
  const char* key;
  const char* reason;
};
constexpr Meaningless kMeaningless[] = {
    {"real_offload", "where keys and values lie never changes results, and the server decides it"},
    {"cpu_num_threads", "no CPU thread gathers; --cpu-threads are those of matrix products"},
    {"use_flash_attn", "there is one attention"},
    {"max_context_len", "prompts are not cut; --max-model-len bounds them"},
    {"use_chat_template", "a request says whether it is text or a chat"},
    {"cot", "it chose a benchmark's prompt"},
    {"use_fixed_prompt", "it chose a benchmark's prompt"},
    {"use_multi_gpus", "mpirun says how many ranks there are"},
    {"decoder_start_layer_idx", "model_cls multi does not read it"},
    {"offload_sid", "model_cls multi does not read it"},
    {"skip_threshold", "only cache_cls lazy reads it"},
    {"ensure_head_tail_len", "model_cls multi does not read it"},
    {"ntk_factor", "model_cls multi does not read it"},
    {"hh_ratio", "it belongs to the baseline H2O"},
    {"recent_ratio", "it belongs to the baseline H2O"},
    {"seg_size", "it belongs to the baseline H2O"},
    {"skip_prefill", "it belongs to the baseline H2O"},
    {"infllm_cfg_path", "it belongs to the baseline InfLLM"},
    {"sink_window_length", "only use_sink_cache reads it"},
    {"num_sink_tokens", "only use_sink_cache reads it; see --selection-sink-tokens"},
    {"sparse_in_prefill", "OmniKV does not use it"},
    {"max_len_can_hold", "OmniKV does not use it"},
    {"attn_seg_sz", "OmniKV does not use it"},
    {"batch_size", "OmniKV does not use it"},
};

std::string WithUnderscores(const std::string& key) {
  return absl::StrReplaceAll(key, {{"-", "_"}});
}

template <typename Row, size_t kRows>
const Row* Find(const Row (&table)[kRows], const std::string& name) {
  const auto row =
      std::find_if(std::begin(table), std::end(table), [&](const Row& r) { return name == r.key; });
  return row == std::end(table) ? nullptr : row;
}

class Translation {
 public:
  Translation(const NamedValues& file, std::vector<std::string>* problems,
              std::vector<std::string>* warnings)
      : file_(file), problems_(problems), warnings_(warnings) {}

  std::vector<FileValue> Run() {
    ReadModelClass();
    for (const auto& [key, value] : file_) Translate(key, value);
    if (omnikv_) AddDefaults();
    return std::move(values_);
  }

 private:
  const std::string* Given(const std::string& name) const {
    for (const auto& [key, value] : file_) {
      if (WithUnderscores(key) == name) return &value;
    }
    return nullptr;
  }
  bool Has(const std::string& option) const {
    return std::any_of(values_.begin(), values_.end(),
                       [&](const FileValue& value) { return value.option == option; });
  }
  std::string ValueOf(const std::string& option) const {
    for (const FileValue& value : values_) {
      if (value.option == option) return value.value;
    }
    return "";
  }
  void Refuse(const std::string& key, const std::string& value, const std::string& rest) {
    problems_->push_back(absl::StrCat(key, ": \"", value, "\"; ", rest));
  }
  void Ignore(const std::string& key, const std::string& reason) {
    warnings_->push_back(absl::StrCat(key, " has no effect: ", reason));
  }

  // multi is OmniKV; raw models decode densely; the rest are baselines.
  void ReadModelClass() {
    const std::string* model_class = Given("model_cls");
    if (model_class == nullptr) return;
    if (*model_class == "multi") {
      omnikv_ = true;
    } else if (absl::StrContains(*model_class, "raw") && !absl::StrContains(*model_class, "h2o")) {
      dense_ = true;
    } else {
      Refuse("model_cls", *model_class, "allowed are multi (OmniKV) and raw_llama (dense)");
    }
  }

  void Translate(const std::string& key, const std::string& value) {
    const std::string name = WithUnderscores(key);
    const std::string lower = absl::AsciiStrToLower(value);
    if (name == "model_cls") return;
    if (name == "cache_cls") {
      if (value == "multi" || value == "without_pack" || value == "default") {
        return Ignore(key, "how rows are fetched never changes results");
      }
      return Refuse(key, value, "allowed are multi, without_pack and default");
    }
    if (name == "rope_factor") {
      double factor = 0;
      if (absl::SimpleAtod(value, &factor) && factor <= 0) return;
      return Refuse(key, value,
                    "dynamic scaling of rotary embeddings is not implemented; allowed is -1");
    }
    if (absl::StartsWith(name, "num_of_selected_tokens_")) {
      return Ignore(key, "model_cls multi does not read it");
    }
    if (const Fixed* fixed = Find(kFixed, name)) {
      if (lower == fixed->allowed[0]) return;
      return Refuse(key, value, absl::StrCat(fixed->reason, "; allowed is ", fixed->allowed[0]));
    }
    if (const Meaningless* row = Find(kMeaningless, name)) return Ignore(key, row->reason);
    if (const Alias* alias = Find(kAliases, name)) return Add(key, *alias, value);
    values_.push_back({key, absl::StrReplaceAll(key, {{"_", "-"}}), value});
  }

  void Add(const std::string& key, const Alias& alias, const std::string& value) {
    const std::string option = alias.option;
    if (const std::string* ours = Given(WithUnderscores(option))) {
      problems_->push_back(absl::StrCat(key, ": \"", value, "\"; ", option, " is given too, as \"",
                                        *ours, "\"; give one of them"));
      return;
    }
    if (dense_ && option != "model") return Ignore(key, "the model_cls is dense");
    if (option != "selection-score") {
      values_.push_back({key, option, value});
      return;
    }
    for (const Word& word : kSelectors) {
      if (value == word.omnikv) {
        values_.push_back({key, option, word.ours});
        return;
      }
    }
    std::string allowed;
    for (const Word& word : kSelectors)
      absl::StrAppend(&allowed, allowed.empty() ? "" : ", ", word.omnikv);
    Refuse(key, value, absl::StrCat("allowed are ", allowed));
  }

  void Default(const std::string& option, const std::string& value) {
    if (!Has(option)) values_.push_back({option, option, value});
  }

  // What the released code does when its file does not say. A budget is a number of tokens there
  // too; its candidates are the prompt, nothing is forced but what was generated.
  void AddDefaults() {
    if (!Has("selection-filter-layers")) {
      problems_->push_back("do_select_layers: not given, and model_cls multi needs it");
    }
    Default("selection-wait-layers", "2");
    Default("num-selected-tokens", "4096");
    Default("selection-score", "softmax_max");
    Default("selection-candidates", "prompt");
    Default("selection-sink-tokens", "0");
    Default("selection-min-context", "0");
    Default("selection-window-size", "16");
    const std::string score = ValueOf("selection-score");
    const bool window = score == "uniform" || score == "exp";
    // The window's own tokens do not compete.
    Default("selection-recent-tokens", window ? ValueOf("selection-window-size") : "0");
    if (score != "raw_max") Default("selection-lse", "prompt");
  }

  const NamedValues& file_;
  std::vector<std::string>* problems_;
  std::vector<std::string>* warnings_;
  std::vector<FileValue> values_;
  bool omnikv_ = false;
  bool dense_ = false;
};

}  // namespace

std::vector<FileValue> TranslateOmniKvKeys(const NamedValues& file,
                                           std::vector<std::string>* problems,
                                           std::vector<std::string>* warnings) {
  return Translation(file, problems, warnings).Run();
}

}  // namespace tamis
