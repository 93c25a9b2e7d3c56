// SPDX-License-Identifier: Apache-2.0
// Measures one in N of the steps that select: the attention mass that selections hold, and how far
// sparse decoding is from dense decoding. The other steps do not notice it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/model/llama.h"
#include "runtime/model/selection_stats.h"
#include "runtime/model/step_input_buffers.h"

namespace tamis {

// Two rows of logits [V] of one token: is the most likely token the same (the first in the order of
// order_key.h), KL(dense || sparse) in nats, the largest absolute difference.
struct LogitAgreement {
  bool top1_equal = false;
  double kl = 0;
  double logit_diff_max = 0;
};
LogitAgreement CompareLogits(std::span<const float> dense, std::span<const float> sparse);

// One per rank. A measured step waits for the device and runs eagerly.
class SelectionProbe {
 public:
  // A line per measured step goes to `log`, unless it is null.
  using Log = std::function<void(const std::string& line)>;
  SelectionProbe(const SelectionConfig& config, const ModelConfig& model,
                 const SelectionLayers& layers, Log log);

  // True if this step is to be measured: of the steps that select, the first and every N-th. To be
  // asked once per step, on every rank alike; then every rank gives the same answer.
  bool Due(const StepInputs& inputs);

  // Forward of a step that is due: the same results, and the same cache afterwards. `step` is what
  // `inputs` were made from. A dense run comes first, so that the sparse one overwrites what it has
  // written for the step's tokens; nothing else of it stays.
  void Forward(LlamaContext context, const HostStep& step, const StepInputs& inputs);

  const SelectionMeasures& measures() const { return measures_; }

 private:
  void RunDense(const LlamaContext& context, const StepInputs& inputs);
  void MeasureMass(const FilterOutcome& outcome, const HostStep& step, const Stream& stream);
  void AddMass(const LlamaContext& context, int64_t num_sparse);
  void AddAgreement(const LlamaContext& context, const HostStep& step, const StepInputs& inputs);

  int64_t mass_interval_ = 0;
  int64_t dense_interval_ = 0;
  int64_t num_q_heads_ = 0;
  Log log_;
  int64_t num_steps_ = 0;  // that selected
  bool mass_due_ = false;
  bool dense_due_ = false;
  SelectionMeasures measures_;
  std::string line_;  // of the log, as far as it is known

  // Memory that is kept between measured steps.
  StepInputs dense_inputs_;
  std::vector<float> dense_logits_;   // [S, V]
  std::vector<float> sparse_logits_;  // [S, V]
  std::vector<float> scores_;         // [S, Hs, n]
  std::vector<int32_t> positions_;    // [S, Hs, k_max]
  std::vector<float> lost_;           // per filter layer: mass of what was not selected, all heads
};

}  // namespace tamis
