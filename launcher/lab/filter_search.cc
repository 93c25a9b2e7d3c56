// SPDX-License-Identifier: Apache-2.0
#include "launcher/lab/filter_search.h"

#include <algorithm>
#include <limits>
#include <string>

#include "kernels/check.h"

namespace tamis {
namespace {

// One step's masses and sets of all layers, from the probe.
class StepSimilarity {
 public:
  StepSimilarity(int64_t num_layers, std::vector<SelectionPlan>* plans)
      : num_layers_(num_layers), plans_(plans), layers_(static_cast<size_t>(num_layers)) {}

  void See(const ProbedLayer& probed) {
    Layer& layer = layers_[static_cast<size_t>(probed.layer_idx)];
    const auto rows = static_cast<int64_t>(probed.lens.size());
    lens_.assign(probed.lens.begin(), probed.lens.end());
    n_ = probed.n;
    k_ = probed.k;
    layer.top.assign(probed.top.begin(), probed.top.end());
    layer.mass.assign(static_cast<size_t>(rows * n_), 0.0f);
    for (int64_t s = 0; s < rows; ++s) {
      float* sum = layer.mass.data() + s * n_;
      for (int64_t h = 0; h < probed.kv_heads; ++h) {
        const float* of = probed.mass.data() + (s * probed.kv_heads + h) * n_;
        for (int64_t j = 0; j < lens_[static_cast<size_t>(s)]; ++j) sum[j] += of[j];
      }
    }
  }

  // Adds row s's held parts to [L, L].
  void AddTo(int64_t s, std::vector<double>* held) const {
    const SelectionPlan& plan = (*plans_)[static_cast<size_t>(s)];
    const int64_t n = lens_[static_cast<size_t>(s)];
    for (int64_t b = 0; b < num_layers_; ++b) {
      const float* mass = layers_[static_cast<size_t>(b)].mass.data() + s * n_;
      double all = 0.0, forced = 0.0;
      for (int64_t j = 0; j < n; ++j) {
        all += mass[j];
        if (j < plan.sink_end || j >= plan.tail_begin) forced += mass[j];
      }
      for (int64_t a = 0; a < num_layers_; ++a) {
        const int32_t* top = layers_[static_cast<size_t>(a)].top.data() + s * k_;
        double listed = 0.0;
        for (int64_t i = 0; i < k_ && top[i] >= 0; ++i) listed += mass[top[i]];
        (*held)[static_cast<size_t>(a * num_layers_ + b)] += (forced + listed) / all;
      }
    }
  }

 private:
  struct Layer {
    std::vector<float> mass;   // [S, n]
    std::vector<int32_t> top;  // [S, k]
  };
  int64_t num_layers_;
  const std::vector<SelectionPlan>* plans_;
  std::vector<Layer> layers_;
  std::vector<int32_t> lens_;
  int64_t n_ = 0, k_ = 0;
};

Variant Planner(const SelectionConfig& config) {
  Variant planner;
  planner.config = config;
  planner.config.filter_layers = {0};  // a plan asks only whether there are any
  return planner;
}

int64_t DenseLayers(const FilterShape& shape, int64_t first) {
  return first + shape.num_filters * (1 + shape.wait_layers);
}

}  // namespace

LayerSimilarity MeasureSimilarity(Lab& lab, ThreadPool& pool, const SelectionConfig& config,
                                  const std::vector<Case>& cases, int64_t num_steps,
                                  int64_t rows_max, const std::function<void(int64_t)>& progress) {
  const int64_t num_layers = lab.model().num_layers;
  CHECK(config.scope != SelectionScope::kKvHead) << "similarity is between sets of all heads";
  SelectionConfig dense = config;
  dense.filter_layers = {};
  const Variant planner = Planner(config);
  LayerSimilarity similarity{num_layers,
                             std::vector<double>(static_cast<size_t>(num_layers * num_layers))};
  int64_t tokens = 0, steps = 0;
  for (size_t first = 0; first < cases.size(); first += static_cast<size_t>(rows_max)) {
    const size_t count = std::min(static_cast<size_t>(rows_max), cases.size() - first);
    std::vector<SelectionPlan> plans;
    StepSimilarity step_similarity(num_layers, &plans);
    LabProbe probe(lab, pool, dense, AttendPolicy::kSelection, static_cast<int64_t>(count),
                   [&](const ProbedLayer& layer) { step_similarity.See(layer); });
    std::vector<LabSequence> sequences;
    for (size_t i = 0; i < count; ++i) {
      sequences.push_back(lab.Fork(*cases[first + i].prefix, cases[first + i].begin));
    }
    for (int64_t step = 0; step < num_steps; ++step) {
      std::vector<LabDecodeRow> rows;
      plans.clear();
      for (size_t i = 0; i < count; ++i) {
        const Case& text = cases[first + i];
        CHECK_LT(static_cast<size_t>(step), text.inputs.size());
        plans.push_back(PlanOf(planner, sequences[i].num_cached + 1, text.begin + 1));
        rows.push_back({&sequences[i], text.inputs[static_cast<size_t>(step)], plans.back()});
      }
      probe.Step(rows);
      std::vector<std::vector<double>> of_rows(count, std::vector<double>(similarity.held.size()));
      pool.For(static_cast<int64_t>(count), [&](int64_t s) {
        step_similarity.AddTo(s, &of_rows[static_cast<size_t>(s)]);
      });
      for (const std::vector<double>& held : of_rows) {
        for (size_t i = 0; i < held.size(); ++i) similarity.held[i] += held[i];
      }
      tokens += static_cast<int64_t>(count);
      if (progress) progress(++steps);
    }
    for (LabSequence& sequence : sequences) lab.Free(sequence);
  }
  for (double& held : similarity.held) held /= static_cast<double>(tokens);
  return similarity;
}

std::string FilterShapeProblem(const FilterShape& shape) {
  if (shape.num_filters < 1) {
    return "num-filters is " + std::to_string(shape.num_filters) + "; it must be at least 1";
  }
  const int64_t least = DenseLayers(shape, 0);
  if (shape.dense_layers_max < least) {
    return "max-dense-layers is " + std::to_string(shape.dense_layers_max) + "; " +
           std::to_string(shape.num_filters) + " filter layers and their wait layers are " +
           std::to_string(least) + " dense layers already";
  }
  if (least >= shape.num_layers) {
    return "num-filters is " + std::to_string(shape.num_filters) + "; of " +
           std::to_string(shape.num_layers) + " layers none would be left to be sparse";
  }
  return "";
}

bool Fits(const FilterShape& shape, const std::vector<int32_t>& filters) {
  if (filters.empty()) return true;
  if (DenseLayers(shape, filters.front()) > shape.dense_layers_max) return false;
  for (size_t i = 0; i < filters.size(); ++i) {
    // At least one sparse layer to each: a filter that none follows would be a dense layer.
    const int64_t next = i + 1 < filters.size() ? filters[i + 1] : shape.num_layers;
    if (next - filters[i] < shape.wait_layers + 2) return false;
  }
  return true;
}

std::vector<int32_t> BestBySimilarity(const LayerSimilarity& similarity,
                                      const FilterShape& shape) {
  const int64_t layers = shape.num_layers;
  const auto num_filters = static_cast<size_t>(shape.num_filters);
  // segment(a, end): mass held in the layers of filter a up to the next one.
  const auto segment = [&](int64_t a, int64_t end) {
    double sum = 0.0;
    for (int64_t b = a; b < end; ++b) {
      sum += b <= a + shape.wait_layers ? 1.0 : similarity.at(a, b);
    }
    return sum;
  };
  // best[m][a]: of the layers from a on, a being the first of m filters; next[m][a]: the second.
  constexpr double kImpossible = -std::numeric_limits<double>::infinity();
  const std::vector<double> none(static_cast<size_t>(layers), kImpossible);
  std::vector<std::vector<double>> best(num_filters + 1, none);
  std::vector<std::vector<int32_t>> next(num_filters + 1,
                                         std::vector<int32_t>(static_cast<size_t>(layers), -1));
  for (size_t m = 1; m <= num_filters; ++m) {
    for (int64_t a = layers - shape.wait_layers - 2; a >= 0; --a) {
      const auto at = static_cast<size_t>(a);
      if (m == 1) {
        best[m][at] = segment(a, layers);
        continue;
      }
      for (int64_t b = a + shape.wait_layers + 2; b < layers; ++b) {
        const double sum = segment(a, b) + best[m - 1][static_cast<size_t>(b)];
        if (sum <= best[m][at]) continue;
        best[m][at] = sum;
        next[m][at] = static_cast<int32_t>(b);
      }
    }
  }
  int32_t first = 0;
  double most = kImpossible;
  for (int32_t a = 0; DenseLayers(shape, a) <= shape.dense_layers_max && a < layers; ++a) {
    const double sum = a + best[num_filters][static_cast<size_t>(a)];
    if (sum > most) most = sum, first = a;
  }
  std::vector<int32_t> filters = {first};
  for (size_t m = num_filters; m > 1; --m) {
    filters.push_back(next[m][static_cast<size_t>(filters.back())]);
  }
  return filters;
}

std::vector<int32_t> GreedyFilters(const FilterShape& shape, int64_t passes,
                                   const FilterCost& cost) {
  // The best of `filters` with one more layer; `worst` = cost that must be undercut.
  double least = std::numeric_limits<double>::infinity();
  const auto with_one_more = [&](const std::vector<int32_t>& filters) {
    std::vector<int32_t> chosen;
    for (int32_t layer = 0; layer < shape.num_layers; ++layer) {
      std::vector<int32_t> tried = filters;
      if (std::find(tried.begin(), tried.end(), layer) != tried.end()) continue;
      tried.insert(std::upper_bound(tried.begin(), tried.end(), layer), layer);
      if (!Fits(shape, tried)) continue;
      const double found = cost(tried);
      if (found < least) least = found, chosen = tried;
    }
    return chosen;
  };
  std::vector<int32_t> filters;
  for (int64_t i = 0; i < shape.num_filters; ++i) {
    least = std::numeric_limits<double>::infinity();
    const std::vector<int32_t> more = with_one_more(filters);
    if (more.empty()) break;
    filters = more;
  }
  for (int64_t pass = 0; pass < passes; ++pass) {
    for (size_t i = 0; i < filters.size(); ++i) {
      std::vector<int32_t> others = filters;
      others.erase(others.begin() + static_cast<int64_t>(i));
      const std::vector<int32_t> better = with_one_more(others);
      if (!better.empty()) filters = better;
    }
  }
  return filters;
}

}  // namespace tamis
