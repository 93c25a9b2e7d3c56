// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/config.h"

#include <cmath>
#include <numbers>

namespace tamis {
namespace {

// Upper bounds far above any model, so that the bytes of a whole model cannot overflow.
constexpr int64_t kHiddenMax = int64_t{1} << 20;
constexpr int64_t kLayersMax = int64_t{1} << 14;
constexpr int64_t kHeadsMax = int64_t{1} << 14;
constexpr int64_t kHeadDimMax = 512;  // as in kernels/cpu/rope.cc
constexpr int64_t kFfnMax = int64_t{1} << 22;
constexpr int64_t kVocabMax = int64_t{1} << 24;
constexpr int64_t kPositionsMax = int64_t{1} << 30;

std::string OutOfRange(const char* field, int64_t value, int64_t min, int64_t max) {
  return std::string(field) + " is " + std::to_string(value) + "; it must be between " +
         std::to_string(min) + " and " + std::to_string(max);
}

std::string Positive(const char* field, double value) {
  if (std::isfinite(value) && value > 0) return "";
  return std::string(field) + " is " + std::to_string(value) + "; it must be above 0";
}

std::string SizesProblem(const ModelConfig& config) {
  const struct {
    const char* field;
    int64_t value;
    int64_t max;
  } sizes[] = {{"hidden_size", config.hidden_size, kHiddenMax},
               {"num_layers", config.num_layers, kLayersMax},
               {"num_q_heads", config.num_q_heads, kHeadsMax},
               {"num_kv_heads", config.num_kv_heads, kHeadsMax},
               {"head_dim", config.head_dim, kHeadDimMax},
               {"ffn_size", config.ffn_size, kFfnMax},
               {"vocab_size", config.vocab_size, kVocabMax},
               {"max_positions", config.max_positions, kPositionsMax}};
  for (const auto& size : sizes) {
    if (size.value < 1 || size.value > size.max) {
      return OutOfRange(size.field, size.value, 1, size.max);
    }
  }
  if (config.num_q_heads % config.num_kv_heads != 0) {
    return "num_q_heads is " + std::to_string(config.num_q_heads) +
           "; it must be a multiple of num_kv_heads, which is " +
           std::to_string(config.num_kv_heads);
  }
  if (config.head_dim % 2 != 0) {
    return "head_dim is " + std::to_string(config.head_dim) +
           "; it must be even, as the rotary embedding pairs its elements";
  }
  return "";
}

std::string RopeProblem(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  std::string problem = Positive("rope.theta", rope.theta);
  if (problem.empty()) problem = Positive("rope.factor", rope.factor);
  if (problem.empty() && rope.scaling == RopeConfig::Scaling::kLlama3) {
    problem = Positive("rope.low_freq_factor", rope.low_freq_factor);
    if (problem.empty() && !(rope.high_freq_factor > rope.low_freq_factor)) {
      problem = "rope.high_freq_factor is " + std::to_string(rope.high_freq_factor) +
                "; it must be above low_freq_factor, which is " +
                std::to_string(rope.low_freq_factor);
    }
    if (problem.empty() && rope.original_max_positions < 1) {
      problem =
          OutOfRange("rope.original_max_positions", rope.original_max_positions, 1, kPositionsMax);
    }
  }
  if (problem.empty() && !rope.frequency_divisors.empty()) {
    if (static_cast<int64_t>(rope.frequency_divisors.size()) != config.head_dim / 2) {
      return "rope.frequency_divisors has " + std::to_string(rope.frequency_divisors.size()) +
             " elements; it must have head_dim / 2 = " + std::to_string(config.head_dim / 2);
    }
    for (float divisor : rope.frequency_divisors) {
      if (problem.empty()) problem = Positive("an element of rope.frequency_divisors", divisor);
    }
  }
  return problem;
}

}  // namespace

std::string ModelConfigProblem(const ModelConfig& config) {
  if (config.architecture != "llama") {
    return "architecture is \"" + config.architecture + "\"; it must be \"llama\"";
  }
  std::string problem = SizesProblem(config);
  if (problem.empty()) problem = Positive("norm_eps", static_cast<double>(config.norm_eps));
  if (problem.empty()) problem = RopeProblem(config);
  if (!problem.empty()) return problem;
  for (int32_t id : config.eos_token_ids) {
    if (id < 0 || id >= config.vocab_size) {
      return OutOfRange("an element of eos_token_ids", id, 0, config.vocab_size - 1);
    }
  }
  if (config.bos_token_id < -1 || config.bos_token_id >= config.vocab_size) {
    return OutOfRange("bos_token_id", config.bos_token_id, -1, config.vocab_size - 1);
  }
  if (config.sliding_window < 0) {
    return OutOfRange("sliding_window", config.sliding_window, 0, kPositionsMax);
  }
  return "";
}

std::string UnsupportedFeature(const ModelConfig& config) {
  if (config.attention_bias) return "attention_bias";
  if (config.mlp_bias) return "mlp_bias";
  if (config.query_key_norm) return "query_key_norm";
  if (config.sliding_window > 0) return "sliding_window";
  return "";
}

std::vector<float> InverseFrequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  std::vector<float> frequencies(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    double frequency = std::pow(rope.theta, -exponent);
    switch (rope.scaling) {
      case RopeConfig::Scaling::kNone: break;
      case RopeConfig::Scaling::kLinear: frequency /= rope.factor; break;
      case RopeConfig::Scaling::kLlama3: {
        // How often the original context holds a whole turn decides: often = unchanged, rarely =
        // slowed by the factor, in between a blend.
        const double turns =
            static_cast<double>(rope.original_max_positions) * frequency / (2.0 * std::numbers::pi);
        if (turns < rope.low_freq_factor) {
          frequency /= rope.factor;
        } else if (turns <= rope.high_freq_factor) {
          const double keep =
              (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
          frequency = (1.0 - keep) * frequency / rope.factor + keep * frequency;
        }
        break;
      }
    }
    if (!rope.frequency_divisors.empty()) {
      frequency /= static_cast<double>(rope.frequency_divisors[i]);
    }
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

}  // namespace tamis
