// SPDX-License-Identifier: Apache-2.0
// What one forward step reads, as views on the model's device. Decoding sequences (one token each)
// come first, prefill chunks after them, in rows and in sequences alike.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace tamis {

struct StepInputs {
  int64_t num_tokens = 0;        // T
  int64_t num_decode_seqs = 0;   // rows [0, num_decode_seqs) of T
  int64_t num_prefill_seqs = 0;  // the rest of T
  int64_t num_logit_rows = 0;    // S: rows whose logits are wanted

  ConstTensorView token_ids;   // i32 [T]
  ConstTensorView from_slot;   // i32 [T]; -1 = token_ids counts
  ConstTensorView positions;   // i32 [T]
  ConstTensorView logit_rows;  // i32 [S] rows of T

  ConstTensorView decode_context_lens;   // i32 [num_decode_seqs]
  ConstTensorView prefill_query_starts;  // i32 [num_prefill_seqs + 1], relative to the first one
  ConstTensorView prefill_context_lens;  // i32 [num_prefill_seqs]
  int64_t decode_context_len_max = 0;
  int64_t prefill_query_len_max = 0;
  int64_t prefill_context_len_max = 0;

  // The slot that keeps a row's query, -1 for rows before the last W of their sequence. Unset
  // without a window score.
  ConstTensorView window_slots;  // i32 [T]

  // Per layer group.
  struct Group {
    ConstTensorView token_slots;          // i32 [T]
    ConstTensorView decode_block_table;   // i32 [num_decode_seqs, blocks_max]
    ConstTensorView prefill_block_table;  // i32 [num_prefill_seqs, blocks_max]
  };
  std::vector<Group> groups;

  // What the decoding sequences select; unset where none does (k_max = 0). A sequence that decodes
  // densely beside others that do not has k 0 and ranges that cover everything.
  struct Selection {
    CandidateView candidates;    // i32 [num_decode_seqs] each
    ConstTensorView sink_end;    // i32 [num_decode_seqs]
    ConstTensorView tail_begin;  // i32 [num_decode_seqs]
    int64_t k_max = 0;           // the bucket of the largest k
  };
  Selection selection;

  // Sampling of the S logit rows. Rows that are not sampled (a chunk before the last has none) do
  // not appear in logit_rows.
  ConstTensorView sample_slots;  // i32 [S] where the sampled token is kept; -1 = nowhere
  ops::SampleParams sample;      // [S] each
  int64_t num_top_logprobs = 0;  // N, the largest that any row wants
};

}  // namespace tamis
