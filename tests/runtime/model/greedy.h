// SPDX-License-Identifier: Apache-2.0
// Greedy decoding of many prompts as one batch, and the comparison of two such runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/runtime/model/model_harness.h"

namespace tamis {

struct GreedyRun {
  std::vector<std::vector<int32_t>> tokens;  // [prompts][generated]
  // (largest - second largest logit) / largest magnitude of the row, at each of them.
  std::vector<std::vector<double>> margins;
};

// Prefills all prompts in one step, then decodes `num_tokens` each. Every sampled token reaches the
// next step through its slot, as in the engine.
GreedyRun DecodeGreedily(ModelHarness& harness, const std::vector<std::vector<int32_t>>& prompts,
                         int num_tokens);

// Two runs agree on a prompt if their tokens are equal, or equal up to a token where the reference
// was in doubt: its two largest logits closer than rounding. What follows is another text then.
struct GreedyAgreement {
  int num_equal = 0;
  int num_in_doubt = 0;
  std::string disagreement;  // empty = none
};
GreedyAgreement CompareGreedy(const GreedyRun& reference, const GreedyRun& run);

// The limits that DecodeGreedily needs.
HarnessLimits LimitsForGreedy(const std::vector<std::vector<int32_t>>& prompts, int num_tokens);

// Nine query heads in three groups: 2+1 groups on two ranks, split groups on four and five.
ModelConfig SmallRandomModel();
std::vector<std::vector<int32_t>> RandomPrompts(int64_t vocab_size, int count);
// DecodeGreedily on this rank's part of a model with dummy weights.
GreedyRun DecodeDummyModel(const ModelConfig& config,
                           const std::vector<std::vector<int32_t>>& prompts, int num_tokens,
                           Collectives& collectives);

}  // namespace tamis
