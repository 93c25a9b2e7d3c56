// SPDX-License-Identifier: Apache-2.0
// How far a model's prediction of one token is from the dense model's.
#pragma once

#include <cstdint>
#include <span>

namespace tamis {

// Sums over tokens, so that they can be added.
struct TokenFigures {
  int64_t tokens = 0;
  double loss = 0.0;        // -log p(target), nats
  double dense_loss = 0.0;  // of the dense model
  double kl = 0.0;          // KL(dense || this), nats
  double kl_squared = 0.0;
  int64_t agreements = 0;  // the most likely token is the dense model's
  int64_t hits = 0;        // the most likely token is the target
  int64_t dense_hits = 0;

  void Add(const TokenFigures& other);
};

// log_probs = logits - logsumexp(logits).
void LogSoftmax(std::span<const float> logits, std::span<float> log_probs);

// One token. `dense_log_probs` are the dense model's, by LogSoftmax.
TokenFigures CompareToken(std::span<const float> logits, std::span<const float> dense_log_probs,
                          int32_t target);

}  // namespace tamis
