// SPDX-License-Identifier: Apache-2.0
// Buckets and padding; graphs themselves need a GPU (engine_gpu_test.cc).
#include "runtime/engine/step_graphs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tamis {
namespace {

using testing::ElementsAre;

TEST(StepGraphsTest, BucketsCoverEveryBatchWithLittlePadding) {
  for (const int64_t num_slots : {1, 3, 16, 100, 256, 1000}) {
    for (int64_t num_seqs = 1; num_seqs <= num_slots; ++num_seqs) {
      const int64_t bucket = DecodeBucket(num_seqs, num_slots);
      EXPECT_GE(bucket, num_seqs);
      EXPECT_LE(bucket, num_slots);
      EXPECT_LT(bucket - num_seqs, num_seqs);
      EXPECT_EQ(DecodeBucket(bucket, num_slots), bucket);
    }
  }
  EXPECT_DEATH(DecodeBucket(17, 16), "17 of 16 slots");
}

TEST(StepGraphsTest, WhatIsCapturedIsBounded) {
  EXPECT_THAT(CapturedBuckets(1), ElementsAre(1));
  EXPECT_THAT(CapturedBuckets(16), ElementsAre(1, 2, 4, 8, 16));
  EXPECT_THAT(CapturedBuckets(21), ElementsAre(1, 2, 4, 8, 16, 21));
  EXPECT_EQ(CapturedBuckets(4096).back(), 512);
  EXPECT_LE(CapturedBuckets(4096).size(), 20u);
  EXPECT_THAT(SelectionBuckets(0), ElementsAre(0));
  EXPECT_THAT(SelectionBuckets(50), ElementsAre(0, 50));
  EXPECT_THAT(SelectionBuckets(2048), ElementsAre(0, 64, 128, 256, 512, 1024, 2048));
}

TEST(StepGraphsTest, PaddingAttendsToNothingAndStaysNowhere) {
  StepLimits limits;
  limits.num_tokens_max = limits.num_slots = limits.logit_rows_max = 8;
  limits.context_len_max = 64;
  HostStep step;
  step.groups.resize(1);
  step.table_width = 2;
  step.token_ids = {5, 6, 7};
  step.from_slot = {-1, 1, 2};
  step.positions = {3, 4, 5};
  step.decode_context_lens = {4, 5, 6};
  step.selection.resize(3);
  step.groups[0] = {{3, 4, 5}, {0, 1, 2, 3, 4, 5}};
  step.logit_rows = {1, 2};  // the first is replayed
  step.sample_slots = {1, 2};
  step.temperature = {1.0f, 1.0f};
  step.top_k = {3, 3};
  step.top_p = {0.5f, 0.5f};
  step.min_p = {0.1f, 0.1f};
  step.seed = {1, 2};
  step.sample_position = {5, 6};
  PadToBucket(limits, &step);
  EXPECT_THAT(step.decode_context_lens, ElementsAre(4, 5, 6, 0));
  EXPECT_THAT(step.groups[0].token_slots, ElementsAre(3, 4, 5, -1));
  EXPECT_THAT(step.from_slot, ElementsAre(-1, 1, 2, -1));
  EXPECT_THAT(step.logit_rows, ElementsAre(1, 2, -1, -1));
  EXPECT_THAT(step.sample_slots, ElementsAre(1, 2, -1, -1));
  StepInputBuffers buffers(limits, 1, 16, DeviceKind::kCpu);
  const StepInputs& inputs = buffers.Upload(step, Stream::Cpu());
  EXPECT_EQ(inputs.num_decode_seqs, 4);
  EXPECT_EQ(inputs.num_logit_rows, 4);
  EXPECT_EQ(inputs.decode_context_len_max, 64);
}

}  // namespace
}  // namespace tamis
