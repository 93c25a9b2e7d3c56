// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/model/greedy.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <sstream>

namespace tamis {
namespace {

constexpr uint64_t kSeed = 31;  // of the model and of the prompts

// Rank counts differ in the order of float32 sums; the logits of our models then differ by a few
// 1e-6 of the largest.
constexpr double kMarginInDoubt = 2e-5;

double Margin(std::span<const float> logits) {
  float first = -INFINITY;
  float second = -INFINITY;
  float largest = 0.0f;
  for (float logit : logits) {
    second = std::max(second, std::min(first, logit));
    first = std::max(first, logit);
    largest = std::max(largest, std::fabs(logit));
  }
  return (static_cast<double>(first) - static_cast<double>(second)) / static_cast<double>(largest);
}

}  // namespace

GreedyRun DecodeGreedily(ModelHarness& harness, const std::vector<std::vector<int32_t>>& prompts,
                         int num_tokens) {
  std::vector<TestSequence> sequences(prompts.size());
  std::vector<TestWork> work;
  for (size_t i = 0; i < prompts.size(); ++i) {
    sequences[i].tokens = prompts[i];
    sequences[i].slot = static_cast<int32_t>(i);
    work.push_back({&sequences[i], static_cast<int64_t>(prompts[i].size())});
  }
  GreedyRun run;
  run.tokens.resize(prompts.size());
  run.margins.resize(prompts.size());
  for (int step = 0; step < num_tokens; ++step) {
    const ConstTensorView logits = harness.Run(work);
    const std::vector<int32_t> sampled = harness.Sample();
    for (size_t i = 0; i < prompts.size(); ++i) {
      run.tokens[i].push_back(sampled[i]);
      run.margins[i].push_back(Margin(RowOf(logits, static_cast<int64_t>(i))));
      work[i] = {&sequences[i], 1, /*decode=*/true, /*all_logits=*/false, /*from_slot=*/true};
    }
  }
  for (TestSequence& sequence : sequences) harness.Free(sequence);
  return run;
}

GreedyAgreement CompareGreedy(const GreedyRun& reference, const GreedyRun& run) {
  GreedyAgreement agreement;
  for (size_t i = 0; i < reference.tokens.size(); ++i) {
    const auto [mine, theirs] = std::mismatch(reference.tokens[i].begin(),
                                              reference.tokens[i].end(), run.tokens[i].begin());
    if (mine == reference.tokens[i].end()) {
      ++agreement.num_equal;
      continue;
    }
    const auto step = mine - reference.tokens[i].begin();
    const double margin = reference.margins[i][static_cast<size_t>(step)];
    if (margin <= kMarginInDoubt) {
      ++agreement.num_in_doubt;
    } else {
      std::ostringstream text;
      text << "prompt " << i << ", generated token " << step << ": " << *theirs << " instead of "
           << *mine << ", whose margin is " << margin << "; ";
      agreement.disagreement += text.str();
    }
  }
  return agreement;
}

HarnessLimits LimitsForGreedy(const std::vector<std::vector<int32_t>>& prompts, int num_tokens) {
  HarnessLimits limits;
  limits.num_tokens_max = 0;
  limits.num_blocks = 0;
  limits.context_len_max = 0;
  for (const std::vector<int32_t>& prompt : prompts) {
    const int64_t length = static_cast<int64_t>(prompt.size());
    const int64_t blocks = (length + num_tokens + limits.block_tokens - 1) / limits.block_tokens;
    limits.num_tokens_max += length;
    limits.num_blocks += blocks;
    limits.context_len_max = std::max(limits.context_len_max, blocks * limits.block_tokens);
  }
  limits.logit_rows_max = limits.num_slots = static_cast<int64_t>(prompts.size());
  return limits;
}

ModelConfig SmallRandomModel() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = 144;
  config.num_layers = 3;
  config.num_q_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = 64;
  config.ffn_size = 250;
  config.vocab_size = 1003;
  config.max_positions = 512;
  return config;
}

std::vector<std::vector<int32_t>> RandomPrompts(int64_t vocab_size, int count) {
  std::mt19937 random(kSeed);
  std::uniform_int_distribution<int32_t> token(0, static_cast<int32_t>(vocab_size) - 1);
  std::uniform_int_distribution<int> length(1, 20);
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(count));
  for (std::vector<int32_t>& prompt : prompts) {
    prompt.resize(static_cast<size_t>(length(random)));
    for (int32_t& id : prompt) id = token(random);
  }
  return prompts;
}

GreedyRun DecodeDummyModel(const ModelConfig& config,
                           const std::vector<std::vector<int32_t>>& prompts, int num_tokens,
                           Collectives& collectives) {
  const ModelShard shard = ShardOf(config, collectives.rank(), collectives.size());
  ModelHarness harness(config, shard, DummyWeights(config, shard, kSeed), collectives,
                       LimitsForGreedy(prompts, num_tokens));
  return DecodeGreedily(harness, prompts, num_tokens);
}

}  // namespace tamis
