// SPDX-License-Identifier: Apache-2.0
// Decodes rows of a lab's sequences, one token each per step, through the served forward pass.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "launcher/lab/lab.h"
#include "runtime/model/selection_plan.h"

namespace tamis {

struct LabDecodeRow {
  LabSequence* sequence = nullptr;
  int32_t token = 0;        // the next one
  SelectionPlan plan = {};  // default: dense
};

// Logits are copied only if the decoder was made for them.
struct DecodeResult {
  std::span<const float> logits;     // [rows, V]
  std::span<const int32_t> greedy;   // [rows] the most likely token
  std::span<const float> row(size_t index, int64_t vocab) const {
    return logits.subspan(index * static_cast<size_t>(vocab), static_cast<size_t>(vocab));
  }
};

// Layer roles of `config`, with block tables of one group for all layers.
SelectionLayers LabLayers(const SelectionConfig& config, int64_t num_layers);

// Launch and Wait alternate. A result stays valid through the next Launch and its Wait's begin, so
// that the host may digest a step while the device runs the next one.
class LabDecoder {
 public:
  LabDecoder(Lab& lab, SelectionLayers layers, int64_t rows_max, bool copy_logits,
             SelectionObserver observer = nullptr);

  // Appends each row's token to its sequence and computes what comes next.
  void Launch(std::span<const LabDecodeRow> rows);
  DecodeResult Wait();

  // For observers, during Launch.
  LlamaContext context();
  const StepInputs& inputs() const { return *current_; }

 private:
  void Build(std::span<const LabDecodeRow> rows);

  Lab& lab_;
  SelectionLayers layers_;
  SelectionObserver observer_;
  bool copy_logits_;
  StepLimits limits_;
  Activations act_;
  Scratch scratch_;
  StepInputBuffers inputs_;
  HostStep step_;
  const StepInputs* current_ = nullptr;
  size_t turn_ = 0;
  std::vector<Buffer> logits_;  // pinned, two of [rows_max, V], or empty
  std::vector<Buffer> greedy_;  // pinned, two of [rows_max]
  Event done_;
};

}  // namespace tamis
