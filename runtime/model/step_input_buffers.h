// SPDX-License-Identifier: Apache-2.0
// From the host's integers to a step's inputs: fixed buffers, filled anew for every step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "parallel/shard.h"
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
    // [num_decode_seqs + num_prefill_seqs, table_width], one padded row per sequence.
    std::vector<int32_t> block_table;
  };
  std::vector<Group> groups;      // as many as the cache has
  int64_t table_width = 0;        // at most blocks_max(); 0 = blocks_max()
  int64_t context_len_bound = 0;  // of decoding rows, for grids and buffers; 0 = their maximum

  std::vector<SelectionPlan> selection;  // [num_decode_seqs]; or empty: all decode densely
  std::vector<int32_t> window_slots;     // [T] (step_inputs.h); or empty: nothing is kept

  std::vector<int32_t> logit_rows;       // [S] rows of T
  std::vector<int32_t> sample_slots;     // [S]; -1 = nowhere
  std::vector<float> temperature;        // [S]
  std::vector<int32_t> top_k;            // [S]
  std::vector<float> top_p;              // [S]
  std::vector<float> min_p;              // [S]
  std::vector<uint64_t> seed;            // [S]
  std::vector<int32_t> sample_position;  // [S] index of the sampled token in its sequence
  int64_t num_top_logprobs = 0;

  // Room for any step within the limits, in as many groups as there are.
  void Reserve(const StepLimits& limits, int64_t blocks_max);
  void Clear();  // empties every vector, keeps `groups` and all capacity

  // Adds decoding rows that attend to nothing, store nothing and sample into no slot, until there
  // are `num_rows`; every row samples or is padding then. Only for steps without prefill.
  void PadDecodes(int64_t num_rows);
};

// Owns the device arrays of a step, sized by the limits, at addresses that never change (a captured
// graph keeps them). On the CPU the staging array is the device array and nothing is copied.
class StepInputBuffers {
 public:
  StepInputBuffers(const StepLimits& limits, int num_groups, int64_t block_tokens,
                   DeviceKind device);

  // Of one copy of the arrays: on the CPU there is one, on a GPU one there and kNumStagings here.
  static size_t LayoutBytes(const StepLimits& limits, int num_groups, int64_t block_tokens);
  static constexpr size_t kNumStagings = 2;

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
  struct RowFields {
    Field token_ids, from_slot, positions, window_slots;
    std::vector<Field> token_slots;  // per group
  };
  struct TableFields {
    Field block_table;
    std::vector<int32_t> on_device;  // [num_slots, blocks_max] what the GPU's table holds
    Slice changed;                   // rows of it that this step changes
  };

  // The layout alone, without memory.
  StepInputBuffers(const StepLimits& limits, int num_groups, int64_t block_tokens);
  Field Reserve(int64_t elements_max, DType dtype);
  RowFields ReserveRows(int64_t rows_max, int num_groups);
  template <typename T>
  ConstTensorView Put(const Field& field, std::span<const T> values, Shape shape);
  void PutRows(const HostStep& step);
  void PutSequences(const HostStep& step);
  void PutTables(const HostStep& step);
  ConstTensorView PutTable(const HostStep& step, size_t group);
  void PutSelection(const HostStep& step);
  void PutSampling(const HostStep& step);
  void CopyToDevice(int64_t table_width, const Stream& stream);

  StepLimits limits_;
  int64_t blocks_max_ = 0;
  DeviceKind device_;
  size_t layout_bytes_ = 0;
  // Everything before is copied at once: of steps that only decode, and of any step.
  size_t decode_bytes_ = 0;
  size_t tables_offset_ = 0;

  // Steps that only decode have few rows, and places of their own for them, so that their copy is
  // small whatever the largest step is.
  RowFields decode_rows_, all_rows_;
  Field decode_context_lens_, prefill_query_starts_, prefill_context_lens_;
  Field logit_rows_, sample_slots_, temperature_, top_k_, top_p_, min_p_, seed_, sample_position_;
  std::vector<TableFields> tables_;
  Field candidate_begin_, candidate_end_, selected_k_, sink_end_, tail_begin_;
  std::vector<int32_t> column_;  // one member of all SelectionPlans of a step

  // Several, so that the host may prepare a step while the last one's copy waits in the stream.
  std::vector<Buffer> staging_;
  std::vector<Event> copied_;
  size_t turn_ = 0;
  Buffer device_buffer_;  // empty on the CPU
  StepInputs inputs_;
};

}  // namespace tamis
