// SPDX-License-Identifier: Apache-2.0
// Wrong arguments die in front of either backend, naming op, argument, symbol and both values.
#include <gtest/gtest.h>

#include "kernels/ops.h"
#include "kernels/scratch_bytes.h"
#include "tests/kernels/paged_cache.h"

namespace tamis {
namespace {

using testing::CacheSizes;
using testing::PagedCache;
using testing::TestScratch;
using testing::TestTensor;

class OpsShapesDeathTest : public ::testing::Test {
 protected:
  OpsShapesDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  static TestTensor F32(Shape shape) { return TestTensor(shape, DType::kF32); }
  static TestTensor I32(Shape shape) { return TestTensor(shape, DType::kI32); }

  Stream cpu_ = Stream::Cpu();
  Scratch scratch_ = TestScratch();
};

TEST_F(OpsShapesDeathTest, SizeSeenBefore) {
  EXPECT_DEATH(ops::RmsNorm(F32({2, 8}), F32({2, 8}), F32({7}), 1e-5f, cpu_),
               "RmsNorm: weight has shape \\[7\\], expected \\[H\\]: H is 7 here and 8 in x");
  EXPECT_DEATH(ops::SiluMul(F32({2, 8}), F32({2, 15}), cpu_),
               "SiluMul: gate_up .* 2 \\* F_local is 15 here and 16 in out");
  EXPECT_DEATH(ops::MatMul(F32({2, 3}), F32({2, 4}), F32({3, 5}), scratch_, cpu_),
               "MatMul: weight .* K is 5 here and 4 in a");
  EXPECT_DEATH(
      ops::MatMulSiluMul(F32({2, 3}), F32({2, 6}), F32({2, 4}), F32({5, 4}), scratch_, cpu_),
      "MatMulSiluMul: weight .* 2 \\* F_local is 5 here and 6 in out");
  EXPECT_DEATH(ops::Embedding(F32({2, 8}), F32({100, 8}), I32({3}), 0, cpu_),
               "Embedding: out .* T is 2 here and 3 in token_ids");
}

TEST_F(OpsShapesDeathTest, RankOfTheTensor) {
  EXPECT_DEATH(ops::GatherRows(F32({2, 8}), F32({16}), I32({2}), cpu_),
               "GatherRows: x has shape \\[16\\], expected \\[T, H\\]");
}

TEST_F(OpsShapesDeathTest, Types) {
  EXPECT_DEATH(ops::GatherRows(F32({2, 8}), F32({4, 8}), F32({2}), cpu_),
               "GatherRows: rows is float32, expected int32");
  EXPECT_DEATH(ops::RmsNorm(F32({2, 8}), F32({2, 8}), TestTensor({8}, DType::kBF16), 1e-5f, cpu_),
               "RmsNorm: weight is bfloat16, expected float32");
  EXPECT_DEATH(ops::RmsNorm(I32({2, 8}), I32({2, 8}), I32({8}), 1e-5f, cpu_),
               "RmsNorm: x is int32, expected a float type");
  EXPECT_DEATH(
      ops::MatMul(TestTensor({2, 3}, DType::kBF16), F32({2, 4}), F32({3, 4}), scratch_, cpu_),
      "MatMul: out is bfloat16, expected float32");
}

TEST_F(OpsShapesDeathTest, Devices) {
  const TestTensor tensor = F32({2, 8});
  TensorView x = tensor;
  x.device = DeviceKind::kCuda;
  EXPECT_DEATH(ops::RmsNorm(F32({2, 8}), x, F32({8}), 1e-5f, cpu_),
               "RmsNorm: x lives on the GPU, the stream is of the CPU");
}

TEST_F(OpsShapesDeathTest, StridesOnlyWhereOpsHAllowsThem) {
  const TestTensor wide = F32({2, 12});
  EXPECT_DEATH(ops::RmsNorm(F32({2, 8}), Columns(wide.view(), 0, 8), F32({8}), 1e-5f, cpu_),
               "RmsNorm: x must be contiguous, .* are 12 apart");
}

TEST_F(OpsShapesDeathTest, MissingDataAndAliases) {
  const TensorView nothing(nullptr, {2, 8}, DType::kF32, DeviceKind::kCpu);
  EXPECT_DEATH(ops::RmsNorm(F32({2, 8}), nothing, F32({8}), 1e-5f, cpu_),
               "RmsNorm: x has shape \\[2, 8\\] and no data");
  const TestTensor x = F32({2, 8});
  EXPECT_DEATH(ops::AddRmsNorm(x, x, F32({2, 8}), F32({8}), 1e-5f, cpu_),
               "AddRmsNorm: broken rule: out does not alias residual");
}

TEST_F(OpsShapesDeathTest, Attention) {
  std::mt19937 random(1);
  const CacheSizes sizes{2, 3, 16, 16};
  const PagedCache cache(sizes, {20, 9}, DType::kF32, random);
  EXPECT_DEATH(ops::DecodeAttention(F32({2, 112}), F32({2, 112}), cache.pages(), cache.decode(),
                                    1.0f, scratch_, cpu_),
               "DecodeAttention: Nq_local \\* D is 112 in q, not a positive multiple of "
               "Nkv_local \\* D = 32");
  EXPECT_DEATH(ops::DecodeAttention(F32({3, 96}), F32({3, 96}), cache.pages(), cache.decode(), 1.0f,
                                    scratch_, cpu_),
               "DecodeAttention: context_lens .* S is 2 here and 3 in q");
  const TestTensor bounds = I32({2});
  EXPECT_DEATH(ops::FilterAttention(F32({2, 96}), F32({2, 1, 19}), F32({2, 96}), cache.pages(),
                                    cache.decode(), {bounds, bounds, bounds}, ScoreKind::kRawMax,
                                    ops::LseScope::kAll, 1.0f, scratch_, cpu_),
               "FilterAttention: n_max is 19 in scores, less than context_len_max = 20");
  EXPECT_DEATH(ops::FilterAttention(F32({2, 96}), F32({2, 3, 20}), F32({2, 96}), cache.pages(),
                                    cache.decode(), {bounds, bounds, bounds}, ScoreKind::kRawMax,
                                    ops::LseScope::kAll, 1.0f, scratch_, cpu_),
               "FilterAttention: broken rule: Hs is 1 or Nkv_local");
  EXPECT_DEATH(
      ops::RopeAndStoreKv(F32({4, 100}), cache.pages(), I32({4}), I32({4}), F32({8}), 6, cpu_),
      "RopeAndStoreKv: qkv .* \\(Nq_local \\+ 2 \\* Nkv_local\\) \\* D is 100 here and 160");
  EXPECT_DEATH(
      ops::MatMulRopeAndStoreKv(F32({4, 160}), F32({4, 8}), F32({100, 8}), cache.pages(), I32({4}),
                                I32({4}), F32({8}), 6, scratch_, cpu_),
      "MatMulRopeAndStoreKv: weight .* \\(Nq_local \\+ 2 \\* Nkv_local\\) \\* D is 100 here");
}

// What OpScratchBytes promises is enough for every op at the limits.
TEST(ScratchBytesTest, CoversEveryOp) {
  std::mt19937 random(2);
  const Stream cpu = Stream::Cpu();
  const CacheSizes sizes{2, 5, 80, 16};
  for (const DType dtype : testing::kFloatTypes) {
    const ScratchLimits limits{.dtype = dtype,
                               .num_tokens_max = 40,
                               .num_seqs_max = 2,
                               .inner_max = 300,
                               .outer_max = 900,
                               .q_heads_local = 10,
                               .kv_heads_local = 2,
                               .head_dim = 80,
                               .context_len_max = 40,
                               .k_max = 24,
                               .num_ranks = 3,
                               .vocab = 999};
    Scratch scratch = TestScratch(OpScratchBytes(DeviceKind::kCpu, limits));
    const PagedCache cache(sizes, {40, 40}, dtype, random);
    const TestTensor q = TestTensor::Random({40, sizes.q_width()}, dtype, random);
    const TestTensor starts = TestTensor::Ints({0, 20, 40});
    ops::PrefillAttention(TestTensor({40, sizes.q_width()}, dtype), q, cache.pages(),
                          {starts, cache.context_lens(), cache.block_table(), 20, 40}, 1.0f,
                          scratch, cpu);
    const TestTensor begin = TestTensor::Ints({0, 0}), k = TestTensor::Ints({24, 24});
    const CandidateView candidates{begin, cache.context_lens(), k};
    const TestTensor scores({2, 2, 40}, DType::kF32);
    ops::FilterAttention(TestTensor({2, sizes.q_width()}, dtype), scores, Rows(q.view(), 0, 2),
                         cache.pages(), cache.decode(), candidates, ScoreKind::kSoftmaxMax,
                         ops::LseScope::kAll, 1.0f, scratch, cpu);
    const TestTensor positions({2, 2, 24}, DType::kI32), top_scores({2, 2, 24}, DType::kF32);
    const TestTensor count({2}, DType::kI32);
    ops::TopK(positions, top_scores, count, scores, candidates, scratch, cpu);
    std::vector<int32_t> lists;
    for (int w = 0; w < 3; ++w) {
      for (const int32_t p : positions.ToInts()) lists.push_back(p);
    }
    TestTensor list_scores({3, 96}, DType::kF32);
    list_scores.Fill(1.0f);
    ops::MergeTopK(positions, count, TestTensor::Ints({3, 96}, lists), list_scores, candidates,
                   scratch, cpu);
    ops::MatMul(TestTensor({40, 900}, dtype), TestTensor({40, 300}, dtype),
                TestTensor({900, 300}, dtype), scratch, cpu);
    EXPECT_LE(scratch.high_water(), scratch.bytes());
    EXPECT_GT(scratch.high_water(), 0u);
  }
}

}  // namespace
}  // namespace tamis
