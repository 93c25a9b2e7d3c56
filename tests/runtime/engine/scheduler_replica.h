// SPDX-License-Identifier: Apache-2.0
// A worker made of integers, for scheduler tests: it keeps block tables from the plans' deltas and
// "KV pages" that hold token ids. At every sample it reads the context back through the block table
// and compares it with what the request's tokens must be, so that a block with two owners shows.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "runtime/engine/scheduler.h"

namespace tamis {

// What this request generates, whatever the batch: a function of (seed, position) alone.
inline int32_t ExpectedToken(uint64_t seed, int64_t position) {
  uint64_t x = seed * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(position) * 0xbf58476d1ce4e5b9u;
  x ^= x >> 31;
  return static_cast<int32_t>(x * 0x94d049bb133111ebu >> 33);
}

// A request whose prompt is what it would have generated itself, so that the whole context is
// known from (seed, position).
inline std::shared_ptr<Request> MakeRequest(uint64_t seed, int64_t prompt_len, int32_t max_tokens) {
  auto request = std::make_shared<Request>();
  request->id = std::to_string(seed);
  for (int64_t i = 0; i < prompt_len; ++i) request->prompt.push_back(ExpectedToken(seed, i));
  request->sampling.seed = seed;
  request->sampling.max_tokens = max_tokens;
  request->on_token = [](const TokenEvent&) {};
  return request;
}

class SchedulerReplica {
 public:
  explicit SchedulerReplica(const SchedulerConfig& config)
      : config_(config),
        slots_(static_cast<size_t>(config.max_num_seqs)),
        pages_(static_cast<size_t>(config.num_groups),
               std::vector<int32_t>(static_cast<size_t>(config.num_blocks * config.block_tokens),
                                    -1)) {
    for (Slot& slot : slots_) slot.blocks.resize(pages_.size());
  }

  // Executes the plan; the result is valid until the next call but one.
  StepResult Execute(const StepPlan& plan) {
    EXPECT_EQ(plan.step_id, next_step_id_++);
    CheckConfirmed(plan);
    ApplyTables(plan);
    turn_ = 1 - turn_;
    std::vector<int32_t>& tokens = tokens_[turn_];
    std::vector<float>& logprobs = logprobs_[turn_];
    tokens.clear();
    logprobs.clear();
    if (!plan.sequences.empty()) unconfirmed_.push_back({plan.step_id, {}});
    size_t next_token = 0;
    bool prefills_begun = false;
    for (const PlanSequence& part : plan.sequences) {
      EXPECT_FALSE(part.is_decode && prefills_begun) << "decodes come first";
      prefills_begun = prefills_begun || !part.is_decode;
      RunPart(plan, part, &next_token);
    }
    EXPECT_EQ(next_token, plan.token_ids.size());
    return {tokens, logprobs, 0, {}, {}};
  }

  // Steps that the leader knows and has not confirmed; the test keeps the scheduler one step ahead
  // or not at all.
  size_t num_unconfirmed() const { return unconfirmed_.size(); }

 private:
  struct Slot {
    int64_t num_tokens = 0;  // in the pages
    int32_t sampled = -1;
    std::vector<std::vector<int32_t>> blocks;
  };

  void CheckConfirmed(const StepPlan& plan) {
    if (plan.confirmed_step < 0) {
      EXPECT_TRUE(plan.confirmed.empty());
      return;
    }
    ASSERT_FALSE(unconfirmed_.empty());
    EXPECT_EQ(plan.confirmed_step, unconfirmed_.front().step_id);
    EXPECT_EQ(plan.confirmed, unconfirmed_.front().sampled);
    unconfirmed_.pop_front();
  }

  void ApplyTables(const StepPlan& plan) {
    for (const int32_t slot : plan.freed_slots) {
      slots_[static_cast<size_t>(slot)].num_tokens = 0;
      for (auto& blocks : slots_[static_cast<size_t>(slot)].blocks) blocks.clear();
    }
    size_t next_block = 0;
    for (const BlockGrant& grant : plan.grants) {
      for (auto& blocks : slots_[static_cast<size_t>(grant.slot)].blocks) {
        for (int32_t i = 0; i < grant.count; ++i) blocks.push_back(plan.block_ids[next_block++]);
      }
    }
    EXPECT_EQ(next_block, plan.block_ids.size());
  }

  int32_t& Page(size_t group, const Slot& slot, int64_t position) {
    const int64_t block =
        slot.blocks[group].at(static_cast<size_t>(position / config_.block_tokens));
    return pages_[group].at(
        static_cast<size_t>(block * config_.block_tokens + position % config_.block_tokens));
  }

  void RunPart(const StepPlan& plan, const PlanSequence& part, size_t* next_token) {
    Slot& slot = slots_[static_cast<size_t>(part.slot)];
    ASSERT_EQ(part.position, slot.num_tokens) << "slot " << part.slot;
    for (int64_t i = 0; i < part.num_tokens; ++i) {
      const int32_t token =
          part.is_decode && !part.is_replay ? slot.sampled : plan.token_ids.at((*next_token)++);
      for (size_t g = 0; g < pages_.size(); ++g) Page(g, slot, slot.num_tokens) = token;
      ++slot.num_tokens;
    }
    if (!part.samples) return;
    for (int64_t position = 0; position < slot.num_tokens; ++position) {
      for (size_t g = 0; g < pages_.size(); ++g) {
        ASSERT_EQ(Page(g, slot, position), ExpectedToken(part.seed, position))
            << "slot " << part.slot << " position " << position << " group " << g;
      }
    }
    slot.sampled = ExpectedToken(part.seed, slot.num_tokens);
    tokens_[turn_].push_back(slot.sampled);
    logprobs_[turn_].push_back(-1.0f);
    unconfirmed_.back().sampled.push_back({part.slot, slot.sampled});
  }

  SchedulerConfig config_;
  std::vector<Slot> slots_;
  std::vector<std::vector<int32_t>> pages_;  // per group: a token id per KV position
  int64_t next_step_id_ = 0;
  struct Unconfirmed {
    int64_t step_id;
    std::vector<SlotToken> sampled;
  };
  std::deque<Unconfirmed> unconfirmed_;
  size_t turn_ = 0;
  std::vector<int32_t> tokens_[2];
  std::vector<float> logprobs_[2];
};

}  // namespace tamis
