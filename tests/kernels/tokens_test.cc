// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/ops.h"
#include "tests/kernels/test_tensor.h"

namespace tamis {
namespace {

using ::testing::ElementsAre;
using testing::kFloatTypes;
using testing::TestTensor;

const Stream& Cpu() {
  static const Stream* const stream = new Stream(Stream::Cpu());
  return *stream;
}

TEST(ResolveTokensTest, TakesFromSlotsWhereAsked) {
  const TestTensor out({4}, DType::kI32);
  ops::ResolveTokens(out, TestTensor::Ints({10, 11, 12, 13}), TestTensor::Ints({-1, 2, -1, 0}),
                     TestTensor::Ints({100, 101, 102}), Cpu());
  EXPECT_THAT(out.ToInts(), ElementsAre(10, 102, 12, 100));
}

TEST(StoreSlotTokensTest, LeavesOtherSlotsAlone) {
  const TestTensor slots = TestTensor::Ints({5, 6, 7, 8});
  ops::StoreSlotTokens(slots, TestTensor::Ints({3, -1, 0}), TestTensor::Ints({30, 31, 32}), Cpu());
  EXPECT_THAT(slots.ToInts(), ElementsAre(32, 6, 7, 30));
}

TEST(EmbeddingTest, HoldsItsSliceOfTheVocabularyAndZerosElsewhere) {
  for (const DType dtype : kFloatTypes) {
    const TestTensor table =
        TestTensor::Floats({3, 2}, dtype, {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f});
    const TestTensor out({4, 2}, dtype);
    ops::Embedding(out, table, TestTensor::Ints({6, 4, 7, 5}), 4, Cpu());
    EXPECT_THAT(out.ToVector(), ElementsAre(5, 6, 1, 2, 0, 0, 3, 4));
  }
}

TEST(GatherRowsTest, CopiesRowsAndZerosPadding) {
  for (const DType dtype : kFloatTypes) {
    const TestTensor x = TestTensor::Floats({3, 2}, dtype, {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f});
    const TestTensor out({4, 2}, dtype);
    ops::GatherRows(out, x, TestTensor::Ints({2, -1, 0, 2}), Cpu());
    EXPECT_THAT(out.ToVector(), ElementsAre(5, 6, 0, 0, 1, 2, 5, 6));
  }
}

TEST(RowsOfPositionsTest, FollowsTheBlockTable) {
  SelectionView selection;
  const TestTensor positions =
      TestTensor::Ints({2, 2, 3}, {0, 5, 6, 1, 2, 3, 4, -9, -9, 7, -9, -9});
  const TestTensor count = TestTensor::Ints({3, 1});
  selection.positions = positions;
  selection.count = count;
  const TestTensor rows({2, 2, 3}, DType::kI32);
  // Two sequences of two blocks of 4 tokens; a block has 16 rows.
  ops::RowsOfPositions(rows, selection, TestTensor::Ints({2, 2}, {9, 3, 5, 1}), 4, 16, Cpu());
  EXPECT_THAT(rows.ToInts(), ElementsAre(144, 49, 50, 145, 146, 147, 16, 0, 0, 19, 0, 0));
}

TEST(ConcatVocabTest, PutsUnevenSlicesSideBySide) {
  const TestTensor gathered =
      TestTensor::Floats({2, 2, 3}, DType::kF32, {0, 1, 2, 10, 11, 12, 3, 4, -1, 13, 14, -1});
  const TestTensor out({2, 5}, DType::kF32);
  ops::ConcatVocab(out, gathered, TestTensor::Ints({0, 3, 5}), Cpu());
  EXPECT_THAT(out.ToVector(), ElementsAre(0, 1, 2, 3, 4, 10, 11, 12, 13, 14));
}

TEST(TokensDeathTest, IndicesOutsideDie) {
  const TestTensor out({1}, DType::kI32);
  EXPECT_DEATH(ops::ResolveTokens(out, TestTensor::Ints({1}), TestTensor::Ints({3}),
                                  TestTensor::Ints({0, 0}), Cpu()),
               "from\\[t\\] < ");
  const TestTensor row({1, 2}, DType::kF32);
  const TestTensor x({2, 2}, DType::kF32);
  EXPECT_DEATH(ops::GatherRows(row, x, TestTensor::Ints({2}), Cpu()), "2 vs. 2");
  EXPECT_DEATH(ops::ConcatVocab(TestTensor({1, 4}, DType::kF32), TestTensor({1, 1, 3}, DType::kF32),
                                TestTensor::Ints({0, 4}), Cpu()),
               "slice of rank 0");
}

}  // namespace
}  // namespace tamis
