// SPDX-License-Identifier: Apache-2.0
// A real model (SmolLM2-135M-Instruct, GGUF): logits equal Hugging Face transformers', and every
// rank count decodes the same greedy tokens.
#include <cmath>
#include <cstdlib>
#include <iostream>

#include "gtest/gtest.h"
#include "parallel/groups.h"
#include "runtime/load/load_model.h"
#include "tests/runtime/model/fixtures.h"
#include "tests/runtime/model/greedy.h"

namespace tamis {
namespace {

constexpr double kToleranceRelative = 1e-4;
constexpr int64_t kLogitStride = 16;  // as in make_fixtures.py
constexpr size_t kNumTop = 16;
constexpr int kNumTokens = 16;

class SmolLm2Test : public testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("TAMIS_TEST_MODEL");
    if (path == nullptr) {
      GTEST_SKIP() << "TAMIS_TEST_MODEL does not name SmolLM2-135M-Instruct.Q4_1.gguf";
    }
    absl::StatusOr<std::unique_ptr<ModelFiles>> files = OpenModel(path, LoadFormat::kAuto, 0);
    ASSERT_TRUE(files.ok()) << files.status();
    files_ = std::move(*files);
  }
  const ModelConfig& config() const { return files_->config(); }

  // This rank's model; loading from several threads needs one opened file each.
  static ModelWeights Load(const ModelShard& shard) {
    auto files = OpenModel(std::getenv("TAMIS_TEST_MODEL"), LoadFormat::kAuto, 0);
    CHECK(files.ok()) << files.status().ToString();
    ModelWeights weights =
        AllocateWeights((*files)->config(), shard, DType::kF32, DeviceKind::kCpu);
    const absl::Status loaded = (*files)->Load(shard, weights, [](uint64_t, uint64_t) {});
    CHECK(loaded.ok()) << loaded.ToString();
    return weights;
  }
  std::unique_ptr<ModelHarness> MakeHarness(Collectives& collectives, const HarnessLimits& limits) {
    const ModelShard shard = ShardOf(config(), collectives.rank(), collectives.size());
    return std::make_unique<ModelHarness>(config(), shard, Load(shard), collectives, limits);
  }

  std::unique_ptr<ModelFiles> files_;
};

// A row of reference logits: every 16th, the largest, and the norm of all.
struct ReferenceRow {
  int32_t position = 0;
  std::vector<int32_t> top_tokens;
  std::vector<float> sampled, top, norm;
};
struct ReferenceSequence {
  std::vector<int32_t> tokens;
  std::vector<ReferenceRow> rows;
};

std::vector<ReferenceSequence> ReadReferences(int64_t vocab_size) {
  std::ifstream text = OpenFixture("smollm2.txt");
  std::ifstream floats = OpenFixture("smollm2.bin");
  std::vector<ReferenceSequence> sequences;
  while (Expect(text, "sequence")) {
    int index = 0;
    text >> index;
    ReferenceSequence sequence;
    sequence.tokens = ReadIntegers(text, "tokens");
    for (int32_t position : ReadIntegers(text, "rows")) {
      ReferenceRow row{position, ReadIntegers(text, "top"), {}, {}, {}};
      row.sampled =
          ReadFloats(floats, static_cast<size_t>((vocab_size + kLogitStride - 1) / kLogitStride));
      row.top = ReadFloats(floats, kNumTop);
      row.norm = ReadFloats(floats, 1);
      sequence.rows.push_back(std::move(row));
    }
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

void ExpectRow(std::span<const float> logits, const ReferenceRow& reference) {
  std::vector<float> sampled, top;
  double squares = 0.0;
  for (size_t v = 0; v < logits.size(); ++v) {
    if (v % kLogitStride == 0) sampled.push_back(logits[v]);
    squares += static_cast<double>(logits[v]) * static_cast<double>(logits[v]);
  }
  for (int32_t token : reference.top_tokens) top.push_back(logits[static_cast<size_t>(token)]);
  EXPECT_LE(RelativeError(sampled, reference.sampled), kToleranceRelative);
  EXPECT_LE(RelativeError(top, reference.top), kToleranceRelative);
  const float norm = static_cast<float>(std::sqrt(squares));
  EXPECT_LE(RelativeError({&norm, 1}, reference.norm), kToleranceRelative);
}

TEST_F(SmolLm2Test, LogitsEqualTransformers) {
  HarnessLimits limits;
  limits.num_tokens_max = limits.logit_rows_max = limits.context_len_max = 640;
  const std::vector<ReferenceSequence> references = ReadReferences(config().vocab_size);
  ASSERT_EQ(references.size(), 4u);
  for (int size : {1, 2}) {
    RunLoopback(size, [&](int rank, Group& group) {
      const auto harness = MakeHarness(*group.collectives, limits);
      for (const ReferenceSequence& reference : references) {
        TestSequence sequence{reference.tokens};
        for (const ReferenceRow& row : reference.rows) {
          SCOPED_TRACE(testing::Message()
                       << "rank " << rank << " of " << size << ", " << reference.tokens.size()
                       << " tokens, position " << row.position);
          // Up to the row as a chunk, and once more as a decode row.
          const ConstTensorView logits =
              harness->Run({&sequence, row.position + 1 - sequence.num_cached});
          ExpectRow(RowOf(logits, 0), row);
          --sequence.num_cached;
          ExpectRow(RowOf(harness->Run({&sequence, 1, /*decode=*/true}), 0), row);
        }
        harness->Free(sequence);
      }
    });
  }
}

TEST_F(SmolLm2Test, SameGreedyTokensAtEveryRankCount) {
  std::ifstream text = OpenFixture("smollm2_prompts.txt");
  size_t count = 0;
  ASSERT_TRUE(Expect(text, "prompts"));
  text >> count;
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = 0; i < count; ++i) prompts.push_back(ReadIntegers(text, "tokens"));
  ASSERT_EQ(prompts.size(), 50u);

  GreedyRun reference;
  for (int size = 1; size <= 5; ++size) {
    RunLoopback(size, [&](int rank, Group& group) {
      const auto harness = MakeHarness(*group.collectives, LimitsForGreedy(prompts, kNumTokens));
      const GreedyRun run = DecodeGreedily(*harness, prompts, kNumTokens);
      if (size == 1) {
        reference = run;
        return;
      }
      const GreedyAgreement agreement = CompareGreedy(reference, run);
      EXPECT_EQ(agreement.disagreement, "") << "rank " << rank << " of " << size;
      EXPECT_GE(agreement.num_equal, 48) << "rank " << rank << " of " << size;
      if (rank == 0) {
        std::cout << size << " ranks: " << agreement.num_equal << " prompts equal, "
                  << agreement.num_in_doubt << " parted where two logits were closer than rounding"
                  << std::endl;
      }
    });
  }
}

}  // namespace
}  // namespace tamis
