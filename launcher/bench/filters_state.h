// SPDX-License-Identifier: Apache-2.0
// What a search of filter layers has measured so far, in a file, so that it can go on where it was
// stopped.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/lab/filter_search.h"
#include "nlohmann/json.hpp"

namespace tamis {

// Of one set of filter layers over all texts of one kind.
struct FilterFigures {
  double loss = 0.0;
  double dense_loss = 0.0;
  double kl = 0.0;
  double top1_agreement = 0.0;
};

class FiltersState {
 public:
  // What was measured, with which settings, on which texts. Another search is another state; other
  // held-out texts or similarity steps only make those figures be measured anew.
  struct Fingerprints {
    std::string search, held_out, similarity;
  };

  // `path` may be empty: nothing is kept.
  FiltersState(std::string path, Fingerprints fingerprints)
      : path_(std::move(path)), fingerprints_(std::move(fingerprints)) {}

  // Reads the file if there is one. An error if it is damaged, or of other settings.
  absl::Status Load();
  absl::Status Save() const;

  LayerSimilarity similarity;  // num_layers 0 = not measured
  std::map<std::vector<int32_t>, FilterFigures> search, held_out;

 private:
  std::string path_;
  Fingerprints fingerprints_;
};

nlohmann::json FiguresJson(const std::vector<int32_t>& filters, const FilterFigures& figures);

}  // namespace tamis
