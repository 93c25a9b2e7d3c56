// SPDX-License-Identifier: Apache-2.0
// Decoding steps that are looked into: every layer's attention mass per token is at hand, and what
// the sparse layers attend to may be decided by other policies than a filter layer's selection.
// Slow: for measuring what selections hold, and for baselines.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "launcher/lab/lab_decoder.h"
#include "launcher/lab/thread_pool.h"

namespace tamis {

// Who decides what a sparse layer attends to, besides the forced tokens.
enum class AttendPolicy : uint8_t {
  kSelection,     // the latest filter layer: OmniKV
  kLayerOracle,   // the layer's own attention mass: the best that one set of this size can hold
  kHeavyHitters,  // the mass gathered over all steps so far; what is not kept is lost for good:
                  // H2O (Zhang et al., NeurIPS 2023), with mean instead of maximum in a KV group
};

// One layer of a step as an observer of the probe sees it.
struct ProbedLayer {
  int64_t layer_idx = 0;
  int64_t kv_heads = 0;
  int64_t n = 0;                    // width of a row of `mass`
  std::span<const float> mass;      // [S, Nkv, n] sum over the group's heads of their probabilities
  std::span<const int32_t> lens;    // [S] tokens; mass beyond them is undefined
  std::span<const int32_t> top;     // [S, Hs, k] positions of the layer's own first k, or -1; empty
                                    // unless asked for
  int64_t top_rows = 0;             // Hs
  int64_t k = 0;
};
using ProbeObserver = std::function<void(const ProbedLayer&)>;

class LabProbe {
 public:
  // The layout of `config` decides which layers are sparse. With `observer` every layer is
  // measured, and scored as a filter layer would.
  LabProbe(Lab& lab, ThreadPool& pool, const SelectionConfig& config, AttendPolicy policy,
           int64_t rows_max, ProbeObserver observer = nullptr);

  // One step; rows keep their order and number, as heavy hitters are per row.
  DecodeResult Step(std::span<const LabDecodeRow> rows);

  // Of the last step: the part of a layer's attention mass that the attended tokens hold, mean over
  // heads; 1 at layers that attend to everything.
  double recall(size_t row, int64_t layer_idx) const {
    return recall_[row * roles_.size() + static_cast<size_t>(layer_idx)];
  }

 private:
  // A selection of one step: device tensors and their host copies.
  struct Selected {
    TensorView positions;  // i32 [S, Hs, k]
    TensorView count;      // i32 [S]
    TensorView list_rows;  // i32 [S, Hs, k]
    std::vector<int32_t> host_positions, host_count;
  };

  void See(const FilterOutcome& outcome);
  void FetchMass(const FilterOutcome& outcome);
  void PutPlans(std::span<const LabDecodeRow> rows);
  void SelectByFilter(const FilterOutcome& outcome);
  void SelectByMass(int64_t layer_idx);
  void SelectRow(int64_t layer_idx, int64_t s);
  void MassOf(int64_t layer_idx, int64_t s, int64_t h, std::vector<float>* scores);
  float* Kept(int64_t layer_idx, int64_t s, int64_t h);
  void Attend(int64_t layer_idx);
  void MeasureRecall(int64_t layer_idx);
  void Report(int64_t layer_idx);
  TensorView PlanColumn(int64_t index) const;  // i32 [S]
  CandidateView candidates() const { return {PlanColumn(0), PlanColumn(1), PlanColumn(2)}; }
  SelectionView selection() const {
    return {selected_.positions, selected_.count, PlanColumn(3), PlanColumn(4)};
  }

  Lab& lab_;
  ThreadPool& pool_;
  SelectionConfig config_;
  AttendPolicy policy_;
  ProbeObserver observer_;
  std::vector<LayerRole> roles_;  // of config_
  int64_t rows_max_;
  int64_t select_rows_;  // Hs of what is selected
  LabDecoder decoder_;

  Buffer plan_buffer_, score_buffer_, list_buffer_, out_buffer_;
  Buffer mass_host_;
  std::vector<SelectionPlan> plans_;  // of the step
  std::vector<int32_t> lens_;
  int64_t n_ = 0;
  int64_t k_ = 0;
  Selected selected_;
  std::vector<float> kept_mass_;  // heavy hitters: [L, S, Nkv, context_len_max]; -inf = evicted
  std::vector<double> recall_;    // [S, L]
};

}  // namespace tamis
