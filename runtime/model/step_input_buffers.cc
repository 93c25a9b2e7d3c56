// SPDX-License-Identifier: Apache-2.0
// The arrays lie in one layout: the small ones first, block tables last, so that a device gets
// one copy of the former and one of the used rows of each table.
#include "runtime/model/step_input_buffers.h"

#include <algorithm>
#include <cstring>

namespace tamis {
namespace {

constexpr size_t kFieldAlignment = 64;

int64_t Count(const std::vector<int32_t>& values) { return static_cast<int64_t>(values.size()); }

int64_t MaxOrZero(const std::vector<int32_t>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

}  // namespace

void HostStep::Clear() {
  for (std::vector<int32_t>* values :
       {&token_ids, &from_slot, &positions, &decode_context_lens, &prefill_query_starts,
        &prefill_context_lens, &logit_rows, &sample_slots, &top_k, &sample_position}) {
    values->clear();
  }
  for (std::vector<float>* values : {&temperature, &top_p, &min_p}) values->clear();
  seed.clear();
  selection.clear();
  for (Group& group : groups) {
    group.token_slots.clear();
    group.block_table.clear();
  }
  num_top_logprobs = 0;
}

StepInputBuffers::StepInputBuffers(const StepLimits& limits, int num_groups, int64_t block_tokens,
                                   DeviceKind device)
    : limits_(limits),
      blocks_max_((limits.context_len_max + block_tokens - 1) / block_tokens),
      device_(device) {
  token_ids_ = Reserve(limits.num_tokens_max, DType::kI32);
  from_slot_ = Reserve(limits.num_tokens_max, DType::kI32);
  positions_ = Reserve(limits.num_tokens_max, DType::kI32);
  decode_context_lens_ = Reserve(limits.num_slots, DType::kI32);
  prefill_query_starts_ = Reserve(limits.num_slots + 1, DType::kI32);
  prefill_context_lens_ = Reserve(limits.num_slots, DType::kI32);
  logit_rows_ = Reserve(limits.logit_rows_max, DType::kI32);
  sample_slots_ = Reserve(limits.logit_rows_max, DType::kI32);
  temperature_ = Reserve(limits.logit_rows_max, DType::kF32);
  top_k_ = Reserve(limits.logit_rows_max, DType::kI32);
  top_p_ = Reserve(limits.logit_rows_max, DType::kF32);
  min_p_ = Reserve(limits.logit_rows_max, DType::kF32);
  seed_ = Reserve(limits.logit_rows_max, DType::kU64);
  sample_position_ = Reserve(limits.logit_rows_max, DType::kI32);
  for (Field* field :
       {&candidate_begin_, &candidate_end_, &selected_k_, &sink_end_, &tail_begin_}) {
    *field = Reserve(limits.selection.k_max > 0 ? limits.num_slots : 0, DType::kI32);
  }
  column_.reserve(static_cast<size_t>(limits.num_slots));
  groups_.resize(static_cast<size_t>(num_groups));
  for (GroupFields& group : groups_) {
    group.token_slots = Reserve(limits.num_tokens_max, DType::kI32);
  }
  tables_offset_ = layout_bytes_;
  for (GroupFields& group : groups_) {
    group.block_table = Reserve(limits.num_slots * blocks_max_, DType::kI32);
  }

  const size_t num_stagings = device == DeviceKind::kCpu ? 1 : 2;
  for (size_t i = 0; i < num_stagings; ++i) {
    staging_.emplace_back(MemoryKind::kPinned, layout_bytes_, "step input staging");
    copied_.emplace_back(device);
  }
  if (device != DeviceKind::kCpu) {
    device_buffer_ = Buffer(MemoryOf(device), layout_bytes_, "step inputs");
  }
  inputs_.groups.resize(groups_.size());
}

size_t StepInputBuffers::bytes() const {
  return staging_.size() * layout_bytes_ + device_buffer_.bytes();
}

StepInputBuffers::Field StepInputBuffers::Reserve(int64_t elements_max, DType dtype) {
  const Field field{layout_bytes_, elements_max};
  const size_t bytes = static_cast<size_t>(elements_max) * DTypeBytes(dtype);
  layout_bytes_ += (bytes + kFieldAlignment - 1) / kFieldAlignment * kFieldAlignment;
  return field;
}

template <typename T>
ConstTensorView StepInputBuffers::Put(const Field& field, std::span<const T> values, Shape shape) {
  CHECK_EQ(shape.elements(), static_cast<int64_t>(values.size()))
      << "a step's array, " << shape.ToString();
  CHECK_LE(shape.elements(), field.elements_max) << "a step exceeds its limits";
  if (!values.empty()) {
    std::memcpy(static_cast<std::byte*>(staging_[turn_].data()) + field.offset, values.data(),
                values.size_bytes());
  }
  const Buffer& home = device_ == DeviceKind::kCpu ? staging_[turn_] : device_buffer_;
  return ConstTensorView(static_cast<std::byte*>(home.data()) + field.offset, shape,
                         DTypeOf<T>::value, device_);
}

void StepInputBuffers::PutRows(const HostStep& step) {
  const int64_t num_tokens = Count(step.token_ids);
  CHECK_GT(num_tokens, 0) << "an empty step";
  inputs_.num_tokens = num_tokens;
  inputs_.token_ids = Put<int32_t>(token_ids_, step.token_ids, {num_tokens});
  inputs_.from_slot = Put<int32_t>(from_slot_, step.from_slot, {num_tokens});
  inputs_.positions = Put<int32_t>(positions_, step.positions, {num_tokens});
}

void StepInputBuffers::PutSequences(const HostStep& step) {
  const int64_t num_decode = Count(step.decode_context_lens);
  const int64_t num_prefill = Count(step.prefill_context_lens);
  inputs_.num_decode_seqs = num_decode;
  inputs_.num_prefill_seqs = num_prefill;
  inputs_.decode_context_len_max = MaxOrZero(step.decode_context_lens);
  inputs_.prefill_context_len_max = MaxOrZero(step.prefill_context_lens);
  inputs_.prefill_query_len_max = 0;
  CHECK_LE(inputs_.decode_context_len_max, limits_.context_len_max);
  CHECK_LE(inputs_.prefill_context_len_max, limits_.context_len_max);
  if (num_prefill > 0) {
    const std::vector<int32_t>& starts = step.prefill_query_starts;
    CHECK_EQ(Count(starts), num_prefill + 1);
    CHECK_EQ(starts.front(), 0);
    CHECK_EQ(num_decode + starts.back(), inputs_.num_tokens);
    for (size_t s = 0; s + 1 < starts.size(); ++s) {
      CHECK_GT(starts[s + 1], starts[s]) << "an empty prefill chunk";
      inputs_.prefill_query_len_max =
          std::max<int64_t>(inputs_.prefill_query_len_max, starts[s + 1] - starts[s]);
    }
  } else {
    CHECK_EQ(num_decode, inputs_.num_tokens);
  }
  inputs_.decode_context_lens =
      Put<int32_t>(decode_context_lens_, step.decode_context_lens, {num_decode});
  inputs_.prefill_query_starts = Put<int32_t>(prefill_query_starts_, step.prefill_query_starts,
                                              {Count(step.prefill_query_starts)});
  inputs_.prefill_context_lens =
      Put<int32_t>(prefill_context_lens_, step.prefill_context_lens, {num_prefill});
}

void StepInputBuffers::PutGroups(const HostStep& step) {
  CHECK_EQ(step.groups.size(), groups_.size());
  const int64_t num_decode = inputs_.num_decode_seqs;
  const int64_t num_seqs = num_decode + inputs_.num_prefill_seqs;
  for (size_t g = 0; g < groups_.size(); ++g) {
    StepInputs::Group& group = inputs_.groups[g];
    group.token_slots =
        Put<int32_t>(groups_[g].token_slots, step.groups[g].token_slots, {inputs_.num_tokens});
    const ConstTensorView table =
        Put<int32_t>(groups_[g].block_table, step.groups[g].block_table, {num_seqs, blocks_max_});
    group.decode_block_table = Rows(table, 0, num_decode);
    group.prefill_block_table = Rows(table, num_decode, num_seqs - num_decode);
  }
}

void StepInputBuffers::PutSelection(const HostStep& step) {
  inputs_.selection = {};
  int32_t k = 0;
  for (const SelectionPlan& plan : step.selection) k = std::max(k, plan.k);
  if (k == 0) return;  // the whole step is dense
  CHECK_EQ(static_cast<int64_t>(step.selection.size()), inputs_.num_decode_seqs)
      << "selections of a step";
  CHECK_LE(k, limits_.selection.k_max) << "a selection exceeds the limit of the buffers";
  const auto put = [&](const Field& field, int32_t SelectionPlan::*member) {
    column_.clear();
    for (const SelectionPlan& plan : step.selection) column_.push_back(plan.*member);
    return Put<int32_t>(field, column_, {inputs_.num_decode_seqs});
  };
  StepInputs::Selection& selection = inputs_.selection;
  selection.candidates.begin = put(candidate_begin_, &SelectionPlan::candidate_begin);
  selection.candidates.end = put(candidate_end_, &SelectionPlan::candidate_end);
  selection.candidates.k = put(selected_k_, &SelectionPlan::k);
  selection.sink_end = put(sink_end_, &SelectionPlan::sink_end);
  selection.tail_begin = put(tail_begin_, &SelectionPlan::tail_begin);
  selection.k_max = SelectionBucket(k, limits_.selection.k_max);
}

void StepInputBuffers::PutSampling(const HostStep& step) {
  const int64_t num_rows = Count(step.logit_rows);
  CHECK_LE(step.num_top_logprobs, limits_.top_logprobs_max);
  inputs_.num_logit_rows = num_rows;
  inputs_.logit_rows = Put<int32_t>(logit_rows_, step.logit_rows, {num_rows});
  inputs_.sample_slots = Put<int32_t>(sample_slots_, step.sample_slots, {num_rows});
  inputs_.sample.temperature = Put<float>(temperature_, step.temperature, {num_rows});
  inputs_.sample.top_k = Put<int32_t>(top_k_, step.top_k, {num_rows});
  inputs_.sample.top_p = Put<float>(top_p_, step.top_p, {num_rows});
  inputs_.sample.min_p = Put<float>(min_p_, step.min_p, {num_rows});
  inputs_.sample.seed = Put<uint64_t>(seed_, step.seed, {num_rows});
  inputs_.sample.position = Put<int32_t>(sample_position_, step.sample_position, {num_rows});
  inputs_.num_top_logprobs = step.num_top_logprobs;
}

void StepInputBuffers::CopyToDevice(const Stream& stream) {
  const auto copy = [&](size_t offset, size_t bytes) {
    CopyBytes(static_cast<std::byte*>(device_buffer_.data()) + offset, device_,
              static_cast<const std::byte*>(staging_[turn_].data()) + offset, DeviceKind::kCpu,
              bytes, stream);
  };
  copy(0, tables_offset_);
  const size_t table_bytes =
      static_cast<size_t>((inputs_.num_decode_seqs + inputs_.num_prefill_seqs) * blocks_max_) *
      sizeof(int32_t);
  for (const GroupFields& group : groups_) copy(group.block_table.offset, table_bytes);
  copied_[turn_].Record(stream);
}

const StepInputs& StepInputBuffers::Upload(const HostStep& step, const Stream& stream) {
  turn_ = (turn_ + 1) % staging_.size();
  copied_[turn_].Wait();
  PutRows(step);
  PutSequences(step);
  PutGroups(step);
  PutSelection(step);
  PutSampling(step);
  if (device_ != DeviceKind::kCpu) CopyToDevice(stream);
  return inputs_;
}

}  // namespace tamis
