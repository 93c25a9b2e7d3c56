// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/step_input_buffers.h"

#include "gtest/gtest.h"

namespace tamis {
namespace {

StepLimits SmallLimits() { return {8, 3, 3, 2, 40}; }

// Two decoding sequences and a prefill chunk of three tokens; blocks of 16 tokens, two groups.
HostStep SmallStep() {
  HostStep step;
  step.token_ids = {10, -1, 20, 21, 22};
  step.from_slot = {-1, 1, -1, -1, -1};
  step.positions = {7, 33, 2, 3, 4};
  step.decode_context_lens = {8, 34};
  step.prefill_query_starts = {0, 3};
  step.prefill_context_lens = {5};
  step.groups.resize(2);
  for (int32_t g = 0; g < 2; ++g) {
    HostStep::Group& group = step.groups[static_cast<size_t>(g)];
    group.token_slots = {7 + g, 33 + g, 2 + g, 3 + g, 4 + g};
    group.block_table = {g, -1, -1, 1, 2, 3, 4 + g, -1, -1};
  }
  step.logit_rows = {0, 1, 4};
  step.sample_slots = {0, 1, 2};
  step.temperature = {0.0f, 1.0f, 0.5f};
  step.top_k = {0, 5, 0};
  step.top_p = {1.0f, 0.9f, 1.0f};
  step.min_p = {0.0f, 0.0f, 0.1f};
  step.seed = {1, uint64_t{1} << 40, 3};
  step.sample_position = {8, 34, 5};
  step.num_top_logprobs = 2;
  return step;
}

template <typename T>
std::vector<T> Values(const ConstTensorView& view) {
  return {view.As<T>(), view.As<T>() + view.elements()};
}

TEST(StepInputBuffersTest, GivesWhatItWasGiven) {
  StepInputBuffers buffers(SmallLimits(), 2, 16, DeviceKind::kCpu);
  ASSERT_EQ(buffers.blocks_max(), 3);
  const HostStep step = SmallStep();
  const StepInputs& inputs = buffers.Upload(step, Stream::Cpu());
  EXPECT_EQ(inputs.num_tokens, 5);
  EXPECT_EQ(inputs.num_decode_seqs, 2);
  EXPECT_EQ(inputs.num_prefill_seqs, 1);
  EXPECT_EQ(inputs.num_logit_rows, 3);
  EXPECT_EQ(inputs.num_top_logprobs, 2);
  EXPECT_EQ(inputs.decode_context_len_max, 34);
  EXPECT_EQ(inputs.prefill_context_len_max, 5);
  EXPECT_EQ(inputs.prefill_query_len_max, 3);
  EXPECT_EQ(Values<int32_t>(inputs.token_ids), step.token_ids);
  EXPECT_EQ(Values<int32_t>(inputs.from_slot), step.from_slot);
  EXPECT_EQ(Values<int32_t>(inputs.positions), step.positions);
  EXPECT_EQ(Values<int32_t>(inputs.decode_context_lens), step.decode_context_lens);
  EXPECT_EQ(Values<int32_t>(inputs.prefill_query_starts), step.prefill_query_starts);
  EXPECT_EQ(Values<int32_t>(inputs.prefill_context_lens), step.prefill_context_lens);
  EXPECT_EQ(Values<int32_t>(inputs.logit_rows), step.logit_rows);
  EXPECT_EQ(Values<int32_t>(inputs.sample_slots), step.sample_slots);
  EXPECT_EQ(Values<float>(inputs.sample.temperature), step.temperature);
  EXPECT_EQ(Values<int32_t>(inputs.sample.top_k), step.top_k);
  EXPECT_EQ(Values<float>(inputs.sample.top_p), step.top_p);
  EXPECT_EQ(Values<float>(inputs.sample.min_p), step.min_p);
  EXPECT_EQ(Values<uint64_t>(inputs.sample.seed), step.seed);
  EXPECT_EQ(Values<int32_t>(inputs.sample.position), step.sample_position);
  EXPECT_EQ(Values<int32_t>(inputs.groups[1].token_slots), step.groups[1].token_slots);
  EXPECT_EQ(Values<int32_t>(inputs.groups[1].decode_block_table),
            (std::vector<int32_t>{1, -1, -1, 1, 2, 3}));
  EXPECT_EQ(Values<int32_t>(inputs.groups[1].prefill_block_table),
            (std::vector<int32_t>{5, -1, -1}));
}

TEST(StepInputBuffersTest, SelectionsBecomeColumns) {
  StepLimits limits = SmallLimits();
  limits.selection.k_max = 200;
  StepInputBuffers buffers(limits, 2, 16, DeviceKind::kCpu);
  HostStep step = SmallStep();
  step.selection = {SelectionPlan{}, {4, 30, 5, 4, 30}};
  const StepInputs::Selection& selection = buffers.Upload(step, Stream::Cpu()).selection;
  EXPECT_EQ(Values<int32_t>(selection.candidates.begin), (std::vector<int32_t>{0, 4}));
  EXPECT_EQ(Values<int32_t>(selection.candidates.end), (std::vector<int32_t>{0, 30}));
  EXPECT_EQ(Values<int32_t>(selection.candidates.k), (std::vector<int32_t>{0, 5}));
  EXPECT_EQ(Values<int32_t>(selection.sink_end), (std::vector<int32_t>{0, 4}));
  EXPECT_EQ(Values<int32_t>(selection.tail_begin), (std::vector<int32_t>{0, 30}));
  EXPECT_EQ(selection.k_max, 64);
  step.selection[1].k = 0;
  EXPECT_EQ(buffers.Upload(step, Stream::Cpu()).selection.k_max, 0) << "the step is dense";
  step.selection[1].k = 201;
  EXPECT_DEATH(buffers.Upload(step, Stream::Cpu()), "exceeds the limit");
  step.selection = {{4, 30, 5, 4, 30}};
  EXPECT_DEATH(buffers.Upload(step, Stream::Cpu()), "selections of a step");
}

TEST(StepInputBuffersTest, AddressesStay) {
  StepInputBuffers buffers(SmallLimits(), 2, 16, DeviceKind::kCpu);
  const void* mixed = buffers.Upload(SmallStep(), Stream::Cpu()).groups[1].token_slots.data;
  const void* table = buffers.Upload(SmallStep(), Stream::Cpu()).groups[1].decode_block_table.data;
  HostStep step;
  step.groups.resize(2);
  step.token_ids = {3};
  step.from_slot = {-1};
  step.positions = {0};
  step.decode_context_lens = {1};
  for (HostStep::Group& group : step.groups) {
    group.token_slots = {0};
    group.block_table = {0, -1, -1};
  }
  const StepInputs& inputs = buffers.Upload(step, Stream::Cpu());
  const void* decodes = inputs.groups[1].token_slots.data;
  EXPECT_EQ(inputs.groups[1].decode_block_table.data, table);
  EXPECT_EQ(buffers.Upload(SmallStep(), Stream::Cpu()).groups[1].token_slots.data, mixed);
  EXPECT_EQ(buffers.Upload(step, Stream::Cpu()).groups[1].token_slots.data, decodes);
  EXPECT_EQ(inputs.num_logit_rows, 0);
  EXPECT_EQ(inputs.prefill_query_len_max, 0);
}

TEST(HostStepTest, ClearKeepsTheGroups) {
  HostStep step = SmallStep();
  step.Clear();
  EXPECT_EQ(step.groups.size(), 2u);
  EXPECT_TRUE(step.groups[1].block_table.empty());
  EXPECT_TRUE(step.token_ids.empty());
  EXPECT_TRUE(step.seed.empty());
  EXPECT_TRUE(step.min_p.empty());
  EXPECT_EQ(step.num_top_logprobs, 0);
}

TEST(StepInputBuffersDeathTest, RefusesWhatDoesNotFit) {
  StepInputBuffers buffers(SmallLimits(), 2, 16, DeviceKind::kCpu);
  const auto dies = [&](const auto& spoil, const char* message) {
    HostStep step = SmallStep();
    spoil(step);
    EXPECT_DEATH(buffers.Upload(step, Stream::Cpu()), message);
  };
  dies([](HostStep& step) { step.positions.pop_back(); }, "a step's array");
  dies([](HostStep& step) { step.decode_context_lens[1] = 41; }, "context_len_max");
  dies([](HostStep& step) { step.prefill_query_starts = {0, 2}; }, "num_tokens");
  dies([](HostStep& step) { step.groups[1].block_table.pop_back(); }, "a step's array");
  dies([](HostStep& step) { step.groups.pop_back(); }, "groups");
  dies([](HostStep& step) { step.num_top_logprobs = 3; }, "top_logprobs_max");
  dies([](HostStep& step) { step.min_p.clear(); }, "a step's array");
}

}  // namespace
}  // namespace tamis
