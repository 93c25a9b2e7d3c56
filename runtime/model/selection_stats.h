// SPDX-License-Identifier: Apache-2.0
// What is known of a server's selections, as plain numbers. Totals are since start.
#pragma once

#include <cstdint>
#include <vector>

namespace tamis {

// From the plans alone: every decoded token counts once, whatever the number of
// layers; what a preempted sequence decodes again counts again.
struct SelectionCounts {
  int64_t sparse_tokens_total = 0;    // decoded sparsely
  int64_t dense_tokens_total = 0;     // decoded densely
  int64_t attended_tokens_total = 0;  // that sparse layers attended to, over sparse_tokens_total
  int64_t context_tokens_total = 0;   // that they would have attended to densely
};

// The attention mass of a selection at a filter layer: the part of the layer's own softmax (over
// all n keys) that the attended tokens, forced and selected, hold; the mean over all query heads.
struct FilterMass {
  int32_t layer_idx = 0;
  double sum_total = 0;  // over the measured tokens; the mean is sum_total / mass_tokens_total
  double last = 0;       // the mean of the last measured step
};

// A sparse step beside a dense one of the same tokens over the same cache, whose earlier generated
// tokens sparse decoding wrote. Over all tokens that were compared.
struct DenseAgreement {
  int64_t tokens_total = 0;
  int64_t top1_equal_total = 0;  // both have the same most likely token
  double kl_sum_total = 0;       // KL(dense || sparse), nats
  double kl_max = 0;
  double logit_diff_max = 0;  // largest absolute difference of any logit
};

struct SelectionMeasures {
  int64_t mass_steps_total = 0;
  int64_t mass_tokens_total = 0;
  std::vector<FilterMass> filters;  // ascending layers
  int64_t dense_steps_total = 0;
  DenseAgreement agreement;
};

struct SelectionStats {
  SelectionCounts counts;
  SelectionMeasures measures;
};

}  // namespace tamis
