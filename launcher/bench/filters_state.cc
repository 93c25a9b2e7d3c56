// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/filters_state.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "launcher/bench/lab_inputs.h"

namespace tamis {
namespace {

nlohmann::json AllJson(const std::map<std::vector<int32_t>, FilterFigures>& sets) {
  nlohmann::json all = nlohmann::json::array();
  for (const auto& [filters, figures] : sets) all.push_back(FiguresJson(filters, figures));
  return all;
}

void ReadAll(const nlohmann::json& all, std::map<std::vector<int32_t>, FilterFigures>* sets) {
  for (const nlohmann::json& item : all) {
    (*sets)[item.at("filter_layers").get<std::vector<int32_t>>()] = {
        item.at("loss"), item.at("dense_loss"), item.at("kl"), item.at("top1_agreement")};
  }
}

}  // namespace

nlohmann::json FiguresJson(const std::vector<int32_t>& filters, const FilterFigures& figures) {
  return {{"filter_layers", filters},
          {"loss", figures.loss},
          {"dense_loss", figures.dense_loss},
          {"kl", figures.kl},
          {"top1_agreement", figures.top1_agreement}};
}

absl::Status FiltersState::Load() {
  if (path_.empty() || !std::filesystem::exists(path_)) return absl::OkStatus();
  std::ifstream file(path_);
  const nlohmann::json state = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  const auto damaged = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat("--state: ", path_, ": ", why,
                                                   "; remove it to search from the start"));
  };
  if (!state.is_object() || !state.contains("fingerprint")) return damaged("not a state file");
  if (state.at("fingerprint") != fingerprints_.search) {
    return damaged("of other settings or texts");
  }
  try {
    if (state.at("similarity_fingerprint") == fingerprints_.similarity) {
      similarity.held = state.at("similarity").get<std::vector<double>>();
    }
    while (similarity.num_layers * similarity.num_layers <
           static_cast<int64_t>(similarity.held.size())) {
      ++similarity.num_layers;
    }
    ReadAll(state.at("search"), &search);
    if (state.at("held_out_fingerprint") == fingerprints_.held_out) {
      ReadAll(state.at("held_out"), &held_out);
    }
  } catch (const nlohmann::json::exception& error) {
    return damaged(error.what());
  }
  return absl::OkStatus();
}

absl::Status FiltersState::Save() const {
  if (path_.empty()) return absl::OkStatus();
  const nlohmann::json state = {{"fingerprint", fingerprints_.search},
                                {"held_out_fingerprint", fingerprints_.held_out},
                                {"similarity_fingerprint", fingerprints_.similarity},
                                {"similarity", similarity.held},
                                {"search", AllJson(search)},
                                {"held_out", AllJson(held_out)}};
  return WriteWholeFile(path_, state.dump() + "\n");
}

}  // namespace tamis
