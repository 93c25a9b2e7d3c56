// SPDX-License-Identifier: Apache-2.0
#include "launcher/lab/token_figures.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/cpu/exp.h"

namespace tamis {
namespace {

constexpr size_t kLanes = 16;

// Sum of term(i) over [0, n), in lanes so that the compiler can vectorise it.
template <typename Term>
double SumOf(size_t n, const Term& term) {
  double sum = 0.0;
  constexpr size_t kPiece = 1024;  // floats are summed over short pieces only
  for (size_t begin = 0; begin < n; begin += kPiece) {
    const size_t end = std::min(n, begin + kPiece);
    float lanes[kLanes] = {};
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
    }
    for (; i < end; ++i) lanes[0] += term(i);
    for (const float lane : lanes) sum += static_cast<double>(lane);
  }
  return sum;
}

double LogSumExp(std::span<const float> logits, float max) {
  const float* values = logits.data();
  return static_cast<double>(max) +
         std::log(SumOf(logits.size(), [=](size_t i) { return cpu::Exp(values[i] - max); }));
}

}  // namespace

void TokenFigures::Add(const TokenFigures& other) {
  tokens += other.tokens;
  loss += other.loss;
  dense_loss += other.dense_loss;
  kl += other.kl;
  kl_squared += other.kl_squared;
  agreements += other.agreements;
  hits += other.hits;
  dense_hits += other.dense_hits;
}

void LogSoftmax(std::span<const float> logits, std::span<float> log_probs) {
  CHECK_EQ(logits.size(), log_probs.size());
  const float max = *std::max_element(logits.begin(), logits.end());
  const auto lse = static_cast<float>(LogSumExp(logits, max));
  for (size_t i = 0; i < logits.size(); ++i) log_probs[i] = logits[i] - lse;
}

TokenFigures CompareToken(std::span<const float> logits, std::span<const float> dense_log_probs,
                          int32_t target) {
  CHECK_EQ(logits.size(), dense_log_probs.size());
  CHECK(target >= 0 && static_cast<size_t>(target) < logits.size()) << "token " << target;
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  const auto dense_best =
      std::max_element(dense_log_probs.begin(), dense_log_probs.end()) - dense_log_probs.begin();
  const double lse = LogSumExp(logits, logits[static_cast<size_t>(best)]);
  const float* ours = logits.data();
  const float* dense = dense_log_probs.data();
  // Differences are small where dense probabilities are large, so float terms do.
  const auto shift = static_cast<float>(lse);
  const double kl = SumOf(logits.size(), [=](size_t i) {
    return cpu::Exp(dense[i]) * (dense[i] - (ours[i] - shift));
  });
  TokenFigures figures;
  figures.tokens = 1;
  figures.loss = lse - static_cast<double>(logits[static_cast<size_t>(target)]);
  figures.dense_loss = -static_cast<double>(dense_log_probs[static_cast<size_t>(target)]);
  figures.kl = kl;
  figures.kl_squared = kl * kl;
  figures.agreements = best == dense_best ? 1 : 0;
  figures.hits = best == target ? 1 : 0;
  figures.dense_hits = dense_best == target ? 1 : 0;
  return figures;
}

}  // namespace tamis
