// SPDX-License-Identifier: Apache-2.0
// The arrays lie in one layout: the small ones first, block tables last. A GPU gets one copy of
// the former, and of the tables, which change little from step to step, the rows that differ from
// what it has.
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
  for (std::vector<int32_t>* values : {&token_ids, &from_slot, &positions, &decode_context_lens,
                                       &prefill_query_starts, &prefill_context_lens, &logit_rows,
                                       &sample_slots, &top_k, &sample_position, &window_slots}) {
    values->clear();
  }
  for (std::vector<float>* values : {&temperature, &top_p, &min_p}) values->clear();
  seed.clear();
  selection.clear();
  for (Group& group : groups) {
    group.token_slots.clear();
    group.block_table.clear();
  }
  table_width = 0;
  context_len_bound = 0;
  num_top_logprobs = 0;
}

void HostStep::Reserve(const StepLimits& limits, int64_t blocks_max) {
  const size_t tokens = static_cast<size_t>(limits.num_tokens_max);
  const size_t slots = static_cast<size_t>(limits.num_slots);
  for (std::vector<int32_t>* values : {&token_ids, &from_slot, &positions}) {
    values->reserve(tokens);
  }
  for (std::vector<int32_t>* values : {&decode_context_lens, &prefill_context_lens, &logit_rows,
                                       &sample_slots, &top_k, &sample_position}) {
    values->reserve(slots);
  }
  prefill_query_starts.reserve(slots + 1);
  for (std::vector<float>* values : {&temperature, &top_p, &min_p}) {
    values->reserve(slots);
  }
  seed.reserve(slots);
  selection.reserve(slots);
  window_slots.reserve(limits.selection.window > 0 ? tokens : 0);
  for (Group& group : groups) {
    group.token_slots.reserve(tokens);
    group.block_table.reserve(slots * static_cast<size_t>(blocks_max));
  }
}

void HostStep::PadDecodes(int64_t num_rows) {
  CHECK(prefill_context_lens.empty()) << "only decoding rows are padded";
  const size_t rows = static_cast<size_t>(num_rows);
  CHECK_LE(token_ids.size(), rows);
  CHECK_LE(logit_rows.size(), token_ids.size());
  CHECK_GT(table_width, 0);
  token_ids.resize(rows, 0);
  from_slot.resize(rows, -1);
  positions.resize(rows, 0);
  decode_context_lens.resize(rows, 0);
  selection.resize(rows);
  if (!window_slots.empty()) window_slots.resize(rows, -1);
  for (Group& group : groups) {
    group.token_slots.resize(rows, -1);
    group.block_table.resize(rows * static_cast<size_t>(table_width), 0);
  }
  logit_rows.resize(rows, -1);
  sample_slots.resize(rows, -1);
  temperature.resize(rows, 0.0f);
  top_k.resize(rows, 0);
  top_p.resize(rows, 1.0f);
  min_p.resize(rows, 0.0f);
  seed.resize(rows, 0);
  sample_position.resize(rows, 0);
}

StepInputBuffers::StepInputBuffers(const StepLimits& limits, int num_groups, int64_t block_tokens)
    : limits_(limits),
      blocks_max_((limits.context_len_max + block_tokens - 1) / block_tokens),
      device_(DeviceKind::kCpu) {
  decode_rows_ = ReserveRows(limits.num_slots, num_groups);
  decode_context_lens_ = Reserve(limits.num_slots, DType::kI32);
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
  decode_bytes_ = layout_bytes_;
  all_rows_ = ReserveRows(limits.num_tokens_max, num_groups);
  prefill_query_starts_ = Reserve(limits.num_slots + 1, DType::kI32);
  prefill_context_lens_ = Reserve(limits.num_slots, DType::kI32);
  tables_offset_ = layout_bytes_;
  tables_.resize(static_cast<size_t>(num_groups));
  for (TableFields& table : tables_) {
    table.block_table = Reserve(limits.num_slots * blocks_max_, DType::kI32);
  }
}

StepInputBuffers::StepInputBuffers(const StepLimits& limits, int num_groups, int64_t block_tokens,
                                   DeviceKind device)
    : StepInputBuffers(limits, num_groups, block_tokens) {
  device_ = device;
  column_.reserve(static_cast<size_t>(limits.num_slots));
  inputs_.groups.resize(tables_.size());
  const bool on_cpu = device == DeviceKind::kCpu;
  for (size_t i = 0; i < (on_cpu ? 1 : kNumStagings); ++i) {
    staging_.emplace_back(on_cpu ? MemoryKind::kCpu : MemoryKind::kPinned, layout_bytes_,
                          "step input staging");
    copied_.emplace_back(device);
  }
  if (on_cpu) return;
  device_buffer_ = Buffer(MemoryOf(device), layout_bytes_, "step inputs");
  for (TableFields& table : tables_) {
    table.on_device.assign(static_cast<size_t>(table.block_table.elements_max), 0);  // as allocated
  }
}

size_t StepInputBuffers::LayoutBytes(const StepLimits& limits, int num_groups,
                                     int64_t block_tokens) {
  return StepInputBuffers(limits, num_groups, block_tokens).layout_bytes_;
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

StepInputBuffers::RowFields StepInputBuffers::ReserveRows(int64_t rows_max, int num_groups) {
  RowFields rows;
  for (Field* field : {&rows.token_ids, &rows.from_slot, &rows.positions}) {
    *field = Reserve(rows_max, DType::kI32);
  }
  rows.window_slots = Reserve(limits_.selection.window > 0 ? rows_max : 0, DType::kI32);
  for (int g = 0; g < num_groups; ++g) rows.token_slots.push_back(Reserve(rows_max, DType::kI32));
  return rows;
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
  const RowFields& rows = step.prefill_context_lens.empty() ? decode_rows_ : all_rows_;
  inputs_.token_ids = Put<int32_t>(rows.token_ids, step.token_ids, {num_tokens});
  inputs_.from_slot = Put<int32_t>(rows.from_slot, step.from_slot, {num_tokens});
  inputs_.positions = Put<int32_t>(rows.positions, step.positions, {num_tokens});
  if (limits_.selection.window > 0) {
    inputs_.window_slots = Put<int32_t>(rows.window_slots, step.window_slots, {num_tokens});
  }
  CHECK_EQ(step.groups.size(), tables_.size());
  for (size_t g = 0; g < tables_.size(); ++g) {
    inputs_.groups[g].token_slots =
        Put<int32_t>(rows.token_slots[g], step.groups[g].token_slots, {num_tokens});
  }
}

void StepInputBuffers::PutSequences(const HostStep& step) {
  const int64_t num_decode = Count(step.decode_context_lens);
  const int64_t num_prefill = Count(step.prefill_context_lens);
  inputs_.num_decode_seqs = num_decode;
  inputs_.num_prefill_seqs = num_prefill;
  inputs_.decode_context_len_max = MaxOrZero(step.decode_context_lens);
  if (step.context_len_bound > 0) {
    CHECK_LE(inputs_.decode_context_len_max, step.context_len_bound);
    inputs_.decode_context_len_max = step.context_len_bound;
  }
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

void StepInputBuffers::PutTables(const HostStep& step) {
  const int64_t num_decode = inputs_.num_decode_seqs;
  for (size_t g = 0; g < tables_.size(); ++g) {
    StepInputs::Group& group = inputs_.groups[g];
    const ConstTensorView table = PutTable(step, g);
    group.decode_block_table = Rows(table, 0, num_decode);
    group.prefill_block_table = Rows(table, num_decode, inputs_.num_prefill_seqs);
  }
}

ConstTensorView StepInputBuffers::PutTable(const HostStep& step, size_t group) {
  TableFields& fields = tables_[group];
  const std::vector<int32_t>& values = step.groups[group].block_table;
  const int64_t num_seqs = inputs_.num_decode_seqs + inputs_.num_prefill_seqs;
  const int64_t width = step.table_width > 0 ? step.table_width : blocks_max_;
  CHECK_LE(width, blocks_max_) << "a step's block tables";
  CHECK_EQ(num_seqs * width, Count(values)) << "a step's array, its block tables";
  CHECK_LE(num_seqs, limits_.num_slots) << "a step exceeds its limits";
  const bool on_cpu = device_ == DeviceKind::kCpu;
  auto* staged = reinterpret_cast<int32_t*>(static_cast<std::byte*>(staging_[turn_].data()) +
                                            fields.block_table.offset);
  const size_t row_bytes = static_cast<size_t>(width) * sizeof(int32_t);
  fields.changed = {num_seqs, 0};
  for (int64_t s = 0; s < num_seqs; ++s) {
    const int32_t* row = values.data() + s * width;
    int32_t* known = on_cpu ? nullptr : fields.on_device.data() + s * blocks_max_;
    if (known != nullptr && std::memcmp(known, row, row_bytes) == 0) continue;
    std::memcpy(staged + s * blocks_max_, row, row_bytes);
    if (on_cpu) continue;
    std::memcpy(known, row, row_bytes);
    // Rows between two changed ones are sent again.
    for (int64_t again = fields.changed.end(); fields.changed.count > 0 && again < s; ++again) {
      std::memcpy(staged + again * blocks_max_, fields.on_device.data() + again * blocks_max_,
                  row_bytes);
    }
    fields.changed.begin = std::min(fields.changed.begin, s);
    fields.changed.count = s + 1 - fields.changed.begin;
  }
  const Buffer& home = on_cpu ? staging_[turn_] : device_buffer_;
  return ConstTensorView(static_cast<std::byte*>(home.data()) + fields.block_table.offset,
                         {num_seqs, blocks_max_}, DType::kI32, device_);
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

void StepInputBuffers::CopyToDevice(int64_t table_width, const Stream& stream) {
  const auto copy = [&](size_t offset, size_t bytes) {
    CopyBytes(static_cast<std::byte*>(device_buffer_.data()) + offset, device_,
              static_cast<const std::byte*>(staging_[turn_].data()) + offset, DeviceKind::kCpu,
              bytes, stream);
  };
  copy(0, inputs_.num_prefill_seqs > 0 ? tables_offset_ : decode_bytes_);
  const size_t pitch = static_cast<size_t>(blocks_max_) * sizeof(int32_t);
  const size_t width = table_width > 0 ? static_cast<size_t>(table_width) * sizeof(int32_t) : pitch;
  for (const TableFields& table : tables_) {
    const size_t offset =
        table.block_table.offset + static_cast<size_t>(table.changed.begin) * pitch;
    CopyRows(static_cast<std::byte*>(device_buffer_.data()) + offset, device_,
             static_cast<const std::byte*>(staging_[turn_].data()) + offset, DeviceKind::kCpu,
             static_cast<size_t>(table.changed.count), width, pitch, stream);
  }
  copied_[turn_].Record(stream);
}

const StepInputs& StepInputBuffers::Upload(const HostStep& step, const Stream& stream) {
  turn_ = (turn_ + 1) % staging_.size();
  copied_[turn_].Wait();
  PutRows(step);
  PutSequences(step);
  PutTables(step);
  PutSelection(step);
  PutSampling(step);
  if (device_ != DeviceKind::kCpu) CopyToDevice(step.table_width, stream);
  return inputs_;
}

}  // namespace tamis
