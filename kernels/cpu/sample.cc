// SPDX-License-Identifier: Apache-2.0
// Sampling. Logits are ordered as scores are (order_key.h), by packed integers.
#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/backends.h"
#include "kernels/check.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/order_key.h"
#include "kernels/philox.h"

namespace tamis::cpu {
namespace {

// Gumbel noise of UniformOpen's largest value is 16.6: a logit further below the best cannot win.
constexpr float kNoiseMax = 17.0f;

// Greater = earlier in the order.
uint64_t Pack(float logit, int32_t token) {
  return uint64_t{OrderKey(logit)} << 32 | ~static_cast<uint32_t>(token);
}
int32_t TokenOf(uint64_t packed) { return static_cast<int32_t>(~static_cast<uint32_t>(packed)); }

int32_t Greedy(const float* logits, int64_t vocab) {
  uint64_t best = 0;
  for (int64_t v = 0; v < vocab; ++v) {
    best = std::max(best, Pack(logits[v], static_cast<int32_t>(v)));
  }
  return TokenOf(best);
}

struct RowParams {
  float temperature;
  int32_t top_k;
  float top_p;
  float min_p;
  uint64_t seed;
  int32_t position;
};

// Writes the tokens that may be drawn to `kept`, packed with logit / temperature, in any order.
int64_t Keep(uint64_t* kept, const float* logits, int64_t vocab, int32_t likeliest,
             const RowParams& params) {
  const float top = logits[likeliest] / params.temperature;
  const auto weight = [&](uint64_t packed) {
    return Exp(logits[TokenOf(packed)] / params.temperature - top);
  };
  int64_t n = 0;
  for (int64_t v = 0; v < vocab; ++v) {
    const float scaled = logits[v] / params.temperature;
    if (Exp(scaled - top) >= params.min_p) kept[n++] = Pack(scaled, static_cast<int32_t>(v));
  }
  if (params.top_k > 0 && params.top_k < n) {
    std::nth_element(kept, kept + params.top_k, kept + n, std::greater<>());
    n = params.top_k;
  }
  if (params.top_p >= 1.0f) return n;
  float total = 0.0f;
  for (int64_t i = 0; i < n; ++i) total += weight(kept[i]);
  // A heap yields the prefix without sorting the tail: kept[n - taken, n) is the prefix.
  std::make_heap(kept, kept + n);
  int64_t taken = 0;
  float mass = 0.0f;
  while (taken < n && (taken == 0 || mass < params.top_p * total)) {
    std::pop_heap(kept, kept + n - taken);
    ++taken;
    mass += weight(kept[n - taken]);
  }
  std::move(kept + n - taken, kept + n, kept);
  return taken;
}

// The kept token of the largest logit / temperature + noise; the likeliest where quotients
// overflow, since no other can then be compared with it.
int32_t Draw(const uint64_t* kept, int64_t n, const float* logits, int32_t likeliest,
             const RowParams& params) {
  uint64_t best = 0;
  float best_value = -kNoiseMax + logits[likeliest] / params.temperature - kNoiseMax;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t token = TokenOf(kept[i]);
    const float scaled = logits[token] / params.temperature;
    if (scaled + kNoiseMax < best_value) continue;
    const PhiloxBlock block = Philox(params.seed, static_cast<uint64_t>(token / 4),
                                     static_cast<uint64_t>(params.position));
    const float noise = -std::log(-std::log(UniformOpen(block.word[token % 4])));
    const uint64_t drawn = Pack(scaled + noise, token);
    if (drawn > best) {
      best = drawn;
      best_value = scaled + noise;
    }
  }
  return best == 0 ? likeliest : TokenOf(best);
}

}  // namespace

void Sample(TensorView tokens, TensorView logprobs, TensorView top_tokens, TensorView top_logprobs,
            ConstTensorView logits, const ops::SampleParams& params, Scratch& scratch,
            const Stream&) {
  const int64_t vocab = logits.shape[1];
  const int64_t num_top = top_tokens.shape[1];
  const ScratchScope scope(scratch);
  uint64_t* entries = scratch.Take({vocab}, DType::kU64).As<uint64_t>();
  for (int64_t s = 0; s < logits.shape[0]; ++s) {
    const float* row = logits.As<float>() + s * vocab;
    const RowParams p{params.temperature.As<float>()[s], params.top_k.As<int32_t>()[s],
                      params.top_p.As<float>()[s],       params.min_p.As<float>()[s],
                      params.seed.As<uint64_t>()[s],     params.position.As<int32_t>()[s]};
    const int32_t likeliest = Greedy(row, vocab);
    int32_t token = likeliest;
    if (p.temperature > 0.0f) {
      const int64_t kept = Keep(entries, row, vocab, likeliest, p);
      if (kept > 0) token = Draw(entries, kept, row, likeliest, p);  // none: all logits are NaN
    }
    const MaxAndSum softmax = BestVectorLoops().exp_sum(row, vocab);
    const float lse = softmax.max + std::log(softmax.sum);
    tokens.As<int32_t>()[s] = token;
    logprobs.As<float>()[s] = row[token] - lse;
    if (num_top == 0) continue;
    for (int64_t v = 0; v < vocab; ++v) entries[v] = Pack(row[v], static_cast<int32_t>(v));
    std::partial_sort(entries, entries + num_top, entries + vocab, std::greater<>());
    for (int64_t i = 0; i < num_top; ++i) {
      top_tokens.As<int32_t>()[s * num_top + i] = TokenOf(entries[i]);
      top_logprobs.As<float>()[s * num_top + i] = row[TokenOf(entries[i])] - lse;
    }
  }
}

}  // namespace tamis::cpu
