// SPDX-License-Identifier: Apache-2.0
// Logits of small random models equal those of Hugging Face transformers (make_fixtures.py), at
// every rank count from 1 to 5 that the heads allow, however the tokens are fed.
#include <algorithm>
#include <functional>
#include <ostream>

#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "tests/runtime/model/fixtures.h"
#include "tests/runtime/model/model_harness.h"

namespace tamis {
namespace {

// Relative L2 error over a row of logits. Both sides compute in float32.
constexpr double kToleranceRelative = 1e-4;
constexpr int kRanksMax = 5;

struct Reference {
  std::string name;
  ModelConfig config;
  uint64_t seed = 0;
  std::vector<int32_t> tokens;
  std::vector<int32_t> rows;               // positions whose logits are known, ascending
  std::vector<std::vector<float>> logits;  // [rows][V]
};

void PrintTo(const Reference& reference, std::ostream* out) { *out << reference.name; }

RopeConfig::Scaling ScalingOf(const std::string& name) {
  if (name == "llama3") return RopeConfig::Scaling::kLlama3;
  if (name == "linear") return RopeConfig::Scaling::kLinear;
  CHECK_EQ(name, "none");
  return RopeConfig::Scaling::kNone;
}

std::vector<Reference> ReadReferences() {
  std::ifstream text = OpenFixture("random_models.txt");
  std::ifstream floats = OpenFixture("random_models.bin");
  std::vector<Reference> references;
  while (Expect(text, "model")) {
    Reference reference;
    ModelConfig& config = reference.config;
    std::string scaling;
    text >> reference.name;
    Expect(text, "sizes");
    text >> config.hidden_size >> config.num_layers >> config.num_q_heads >> config.num_kv_heads >>
        config.head_dim >> config.ffn_size >> config.vocab_size >> config.tied_embeddings;
    Expect(text, "rope");
    text >> config.rope.theta >> scaling >> config.rope.factor >> config.rope.low_freq_factor >>
        config.rope.high_freq_factor >> config.rope.original_max_positions;
    Expect(text, "seed");
    text >> reference.seed;
    config.architecture = "llama";
    config.max_positions = 1024;
    config.rope.scaling = ScalingOf(scaling);
    reference.tokens = ReadIntegers(text, "tokens");
    reference.rows = ReadIntegers(text, "rows");
    for (size_t i = 0; i < reference.rows.size(); ++i) {
      reference.logits.push_back(ReadFloats(floats, static_cast<size_t>(config.vocab_size)));
    }
    EXPECT_EQ(ModelConfigProblem(config), "");
    references.push_back(std::move(reference));
  }
  return references;
}

// Feeds tokens [begin, end) in chunks of at most `chunk`, comparing every known row on the way.
class Comparison {
 public:
  Comparison(const Reference& reference, ModelHarness& harness)
      : reference_(reference), harness_(harness) {
    sequence_.tokens = reference.tokens;
  }
  ~Comparison() { harness_.Free(sequence_); }

  void Feed(int64_t end, int64_t chunk, bool decode) {
    while (sequence_.num_cached < end) {
      const int64_t begin = sequence_.num_cached;
      const int64_t count = std::min(chunk, end - begin);
      Compare(begin, harness_.Run({&sequence_, count, decode, /*all_logits=*/true}));
    }
  }
  size_t num_compared() const { return num_compared_; }

 private:
  void Compare(int64_t begin, const ConstTensorView& logits) {
    for (size_t i = 0; i < reference_.rows.size(); ++i) {
      const int64_t row = reference_.rows[i] - begin;
      if (row < 0 || row >= logits.shape[0]) continue;
      const double error = RelativeError(RowOf(logits, row), reference_.logits[i]);
      EXPECT_LE(error, kToleranceRelative) << "at position " << reference_.rows[i];
      ++num_compared_;
    }
  }

  const Reference& reference_;
  ModelHarness& harness_;
  TestSequence sequence_;
  size_t num_compared_ = 0;
};

class LlamaParityTest : public testing::TestWithParam<Reference> {
 protected:
  // Runs `body` on every rank of every rank count the model allows.
  void OnEveryRankCount(const std::function<void(ModelHarness&)>& body) {
    const Reference& reference = GetParam();
    const ModelConfig& config = reference.config;
    HarnessLimits limits;
    limits.num_tokens_max = limits.logit_rows_max = 544;
    limits.context_len_max = 544;
    for (int size = 1; size <= kRanksMax; ++size) {
      if (!ShardProblem(config.num_q_heads, config.num_kv_heads, config.ffn_size, config.vocab_size,
                        size)
               .empty()) {
        continue;
      }
      RunLoopback(size, [&](int rank, Group& group) {
        SCOPED_TRACE(testing::Message() << "rank " << rank << " of " << size);
        const ModelShard shard = ShardOf(config, rank, size);
        ModelHarness harness(config, shard, DummyWeights(config, shard, reference.seed),
                             *group.collectives, limits);
        body(harness);
      });
    }
  }
  int64_t length() const { return static_cast<int64_t>(GetParam().tokens.size()); }
};

TEST_P(LlamaParityTest, WholePrefill) {
  OnEveryRankCount([&](ModelHarness& harness) {
    Comparison comparison(GetParam(), harness);
    comparison.Feed(length(), /*chunk=*/length(), /*decode=*/false);
    EXPECT_EQ(comparison.num_compared(), GetParam().rows.size());
  });
}

TEST_P(LlamaParityTest, ChunkedPrefill) {
  OnEveryRankCount([&](ModelHarness& harness) {
    Comparison comparison(GetParam(), harness);
    comparison.Feed(length(), /*chunk=*/length() / 4 + 1, /*decode=*/false);
    EXPECT_EQ(comparison.num_compared(), GetParam().rows.size());
  });
}

TEST_P(LlamaParityTest, TokenByToken) {
  OnEveryRankCount([&](ModelHarness& harness) {
    Comparison comparison(GetParam(), harness);
    // Long prompts are prefilled but for their end, which crosses an attention chunk's border.
    comparison.Feed(std::max<int64_t>(0, length() - 48), /*chunk=*/length(), /*decode=*/false);
    comparison.Feed(length(), /*chunk=*/1, /*decode=*/true);
    EXPECT_EQ(comparison.num_compared(), GetParam().rows.size());
  });
}

INSTANTIATE_TEST_SUITE_P(RandomModels, LlamaParityTest, testing::ValuesIn(ReadReferences()),
                         [](const testing::TestParamInfo<Reference>& model) {
                           return model.param.name;
                         });

}  // namespace
}  // namespace tamis
