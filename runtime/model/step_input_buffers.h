// SPDX-License-Identifier: Apache-2.0
// From the host's integers to a step's inputs: fixed buffers, filled anew for every step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "runtime/model/llama.h"
#include "runtime/model/selection_plan.h"
#include "runtime/model/step_inputs.h"

namespace tamis {

// One step as plain vectors, in step_inputs.h's order: decoding sequences first. Meant to be kept
// and cleared, so that its vectors keep their memory.
struct HostStep {
  std::vector<int32_t> token_ids;  // [T]
  std::vector<int32_t> from_slot;  // [T]; -1 = token_ids counts
  std::vector<int32_t> positions;  // [T]

  std::vector<int32_t> decode_context_lens;   // [num_decode_seqs]
  std::vector<int32_t> prefill_query_starts;  // [num_prefill_seqs + 1], first 0; or empty
  std::vector<int32_t> prefill_context_lens;  // [num_prefill_seqs]

  struct Group {
    std::vector<int32_t> token_slots;  // [T] block * P + offset
    // [num_decode_seqs + num_prefill_seqs, blocks_max()], one padded row per sequence.
    std::vector<int32_t> block_table;
  };
  std::vector<Group> groups;  // as many as the cache has

  std::vector<SelectionPlan> selection;  // [num_decode_seqs]; or empty: all decode densely

  std::vector<int32_t> logit_rows;       // [S] rows of T
  std::vector<int32_t> sample_slots;     // [S]; -1 = nowhere
  std::vector<float> temperature;        // [S]
  std::vector<int32_t> top_k;            // [S]
  std::vector<float> top_p;              // [S]
  std::vector<float> min_p;              // [S]
  std::vector<uint64_t> seed;            // [S]
  std::vector<int32_t> sample_position;  // [S] index of the sampled token in its sequence
  int64_t num_top_logprobs = 0;

  void Clear();  // empties every vector, keeps `groups` and all capacity
};

// Owns the device arrays of a step, sized by the limits, at addresses that never change (a captured
// graph keeps them). On the CPU the staging array is the device array and nothing is copied.
class StepInputBuffers {
 public:
  StepInputBuffers(const StepLimits& limits, int num_groups, int64_t block_tokens,
                   DeviceKind device);

  // Width of a block table's row: blocks of the longest context.
  int64_t blocks_max() const { return blocks_max_; }
  // Host and device bytes together.
  size_t bytes() const;

  // Dies if the step is inconsistent or exceeds the limits. The result is valid until the next
  // call. Allocates nothing; blocks only if the copy of the step before the last is still running.
  const StepInputs& Upload(const HostStep& step, const Stream& stream);

 private:
  // Room for one array within the buffers.
  struct Field {
    size_t offset = 0;
    int64_t elements_max = 0;
  };
  struct GroupFields {
    Field token_slots, block_table;
  };

  Field Reserve(int64_t elements_max, DType dtype);
  template <typename T>
  ConstTensorView Put(const Field& field, std::span<const T> values, Shape shape);
  void PutRows(const HostStep& step);
  void PutSequences(const HostStep& step);
  void PutGroups(const HostStep& step);
  void PutSelection(const HostStep& step);
  void PutSampling(const HostStep& step);
  void CopyToDevice(const Stream& stream);

  StepLimits limits_;
  int64_t blocks_max_ = 0;
  DeviceKind device_;
  size_t layout_bytes_ = 0;
  size_t tables_offset_ =
      0;  // everything before is copied at once, of the tables only what is used

  Field token_ids_, from_slot_, positions_;
  Field decode_context_lens_, prefill_query_starts_, prefill_context_lens_;
  Field logit_rows_, sample_slots_, temperature_, top_k_, top_p_, min_p_, seed_, sample_position_;
  std::vector<GroupFields> groups_;
  Field candidate_begin_, candidate_end_, selected_k_, sink_end_, tail_begin_;
  std::vector<int32_t> column_;  // one member of all SelectionPlans of a step

  // Two, so that the host may prepare a step while the last one's copy waits in the stream.
  std::vector<Buffer> staging_;
  std::vector<Event> copied_;
  size_t turn_ = 0;
  Buffer device_buffer_;  // empty on the CPU
  StepInputs inputs_;
};

}  // namespace tamis
