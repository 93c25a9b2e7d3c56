// SPDX-License-Identifier: Apache-2.0
// What one step does, in integers: rank 0 writes it, every rank executes it. Block tables travel
// as deltas, so a plan's size depends on what changes, not on context lengths.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/selection_plan.h"

namespace tamis {

enum class PlanKind : uint8_t {
  kRun,       // a forward step
  kIdle,      // nothing to run: the leader is alive
  kShutdown,  // the last plan
};

// One sequence's part of a step.
struct PlanSequence {
  int32_t slot = 0;
  int32_t position = 0;    // of its first token in this step
  int32_t num_tokens = 0;  // 1 when decoding
  bool is_decode = false;  // its token is what the slot sampled last; else it is in token_ids
  // Decodes a token that is known, in token_ids: its KV depends on what sparse decoding selected.
  bool is_replay = false;
  bool samples = false;  // decoding, the last chunk of a prefill, or the last replayed token

  SelectionPlan selection;  // of a decoding one

  // Meaningful where `samples`; see SamplingParams.
  float temperature = 0.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  uint64_t seed = 0;
  int32_t num_logprobs = -1;

  bool operator==(const PlanSequence&) const = default;
};

// `count` blocks in every layer group, appended to the slot's block tables.
struct BlockGrant {
  int32_t slot = 0;
  int32_t count = 0;
  bool operator==(const BlockGrant&) const = default;
};

struct SlotToken {
  int32_t slot = 0;
  int32_t token_id = 0;
  bool operator==(const SlotToken&) const = default;
};

// Applied in the order of the members: check `confirmed`, empty the freed slots, grant blocks, run.
struct StepPlan {
  int64_t step_id = 0;  // 0, 1, 2, ... over all kinds
  PlanKind kind = PlanKind::kIdle;

  // What the leader sampled in step `confirmed_step`, the oldest that no plan has confirmed and the
  // leader knows, or -1; every rank must have sampled the same.
  int64_t confirmed_step = -1;
  std::vector<SlotToken> confirmed;

  std::vector<int32_t> freed_slots;
  std::vector<BlockGrant> grants;
  std::vector<int32_t> block_ids;  // per grant: count ids of group 0, count of group 1, ...

  std::vector<PlanSequence> sequences;  // decoding ones first
  std::vector<int32_t> token_ids;       // replayed and to prefill, in the sequences' order

  // Empties the lists; keeps their memory.
  void Clear();
  bool operator==(const StepPlan&) const = default;
};

// What a kRun step sampled, one entry per sequence that samples, in the plan's order. Views of the
// worker's memory, valid until its next Launch but one (on CPUs: its next).
struct StepResult {
  std::span<const int32_t> tokens;      // [S]
  std::span<const float> logprobs;      // [S]
  int64_t num_top = 0;                  // N, at least what any sequence of the step wants
  std::span<const int32_t> top_tokens;  // [S, N]
  std::span<const float> top_logprobs;  // [S, N] descending
};

// "step 12: 3 decode, 1 prefill 200 tokens", for messages.
std::string DescribePlan(const StepPlan& plan);

// Replaces *bytes. Little-endian, with a version byte and a checksum.
void EncodeStepPlan(const StepPlan& plan, std::string* bytes);

// False if the bytes are not exactly one intact plan of this version; *plan is then undefined.
bool DecodeStepPlan(std::string_view bytes, StepPlan* plan);

}  // namespace tamis
