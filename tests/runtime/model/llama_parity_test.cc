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
#include "tests/support/thread_sanitizer.h"

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

// How many of the known rows lie among logits[first_row, first_row + count), the rows of positions
// [begin, begin + count); each must be right.
size_t Compare(const Reference& reference, int64_t begin, int64_t count,
               const ConstTensorView& logits, int64_t first_row) {
  size_t num_compared = 0;
  for (size_t i = 0; i < reference.rows.size(); ++i) {
    const int64_t row = reference.rows[i] - begin;
    if (row < 0 || row >= count) continue;
    const double error = RelativeError(RowOf(logits, first_row + row), reference.logits[i]);
    EXPECT_LE(error, kToleranceRelative) << "at position " << reference.rows[i];
    ++num_compared;
  }
  return num_compared;
}

// Feeds a sequence's tokens up to `end` in chunks of at most `chunk`, comparing every known row on
// the way; how many were compared.
size_t Feed(const Reference& reference, ModelHarness& harness, TestSequence& sequence, int64_t end,
            int64_t chunk, bool decode) {
  size_t num_compared = 0;
  while (sequence.num_cached < end) {
    const int64_t begin = sequence.num_cached;
    const int64_t count = std::min(chunk, end - begin);
    const ConstTensorView logits = harness.Run({&sequence, count, decode, /*all_logits=*/true});
    num_compared += Compare(reference, begin, count, logits, 0);
  }
  return num_compared;
}

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
      if (!TestsRankCount(size)) continue;
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
    TestSequence sequence{GetParam().tokens};
    EXPECT_EQ(Feed(GetParam(), harness, sequence, length(), /*chunk=*/length(), false),
              GetParam().rows.size());
  });
}

TEST_P(LlamaParityTest, ChunkedPrefill) {
  OnEveryRankCount([&](ModelHarness& harness) {
    TestSequence sequence{GetParam().tokens};
    EXPECT_EQ(Feed(GetParam(), harness, sequence, length(), /*chunk=*/length() / 4 + 1, false),
              GetParam().rows.size());
  });
}

TEST_P(LlamaParityTest, TokenByToken) {
  OnEveryRankCount([&](ModelHarness& harness) {
    TestSequence sequence{GetParam().tokens};
    // Long prompts are prefilled but for their end, which crosses an attention chunk's border.
    const int64_t prefilled = std::max<int64_t>(0, length() - 48);
    const size_t num_compared =
        Feed(GetParam(), harness, sequence, prefilled, /*chunk=*/length(), false) +
        Feed(GetParam(), harness, sequence, length(), /*chunk=*/1, /*decode=*/true);
    EXPECT_EQ(num_compared, GetParam().rows.size());
  });
}

TEST_P(LlamaParityTest, DecodingBesidePrefill) {
  constexpr int64_t kBegun = 5;
  OnEveryRankCount([&](ModelHarness& harness) {
    TestSequence decoding{GetParam().tokens};
    TestSequence begun{GetParam().tokens};
    TestSequence whole{GetParam().tokens};
    Feed(GetParam(), harness, decoding, kBegun, length(), false);
    Feed(GetParam(), harness, begun, kBegun, length(), false);
    const std::vector<TestWork> work = {{&decoding, 1, /*decode=*/true, true},
                                        {&begun, 4, /*decode=*/false, true},
                                        {&whole, length(), /*decode=*/false, true}};
    const ConstTensorView logits = harness.Run(work);
    Compare(GetParam(), kBegun, 1, logits, 0);
    Compare(GetParam(), kBegun, 4, logits, 1);
    EXPECT_EQ(Compare(GetParam(), 0, length(), logits, 5), GetParam().rows.size());
    // The sequences have the same tokens, so their logits must be close where they overlap.
    EXPECT_LE(RelativeError(RowOf(logits, 0), RowOf(logits, 5 + kBegun)), 1e-5);
    EXPECT_LE(RelativeError(RowOf(logits, 4), RowOf(logits, 5 + kBegun + 3)), 1e-5);
  });
}

INSTANTIATE_TEST_SUITE_P(RandomModels, LlamaParityTest, testing::ValuesIn(ReadReferences()),
                         [](const testing::TestParamInfo<Reference>& model) {
                           return model.param.name;
                         });

}  // namespace
}  // namespace tamis
