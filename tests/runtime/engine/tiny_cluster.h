// SPDX-License-Identifier: Apache-2.0
// A whole engine over a tiny random model on loopback ranks, and clients that remember what they
// got.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "parallel/groups.h"
#include "runtime/engine/engine.h"

namespace tamis {

// Small, with uneven shares at two ranks: three KV groups, an odd vocabulary.
ModelConfig TinyModel();

// Room for everything: 4 slots, steps of 16 tokens, 96 tokens per sequence, blocks of 4.
SchedulerConfig TinyConfig();

// The same with selection that matters at these lengths: layer 0 filters for layer 1.
SchedulerConfig TinySelectionConfig();

// A worker of the tiny model for one rank of a group.
std::unique_ptr<Worker> MakeTinyWorker(const SchedulerConfig& config, Group& group);

// What a client got. Filled on the engine thread, awaited on another.
class Client {
 public:
  explicit Client(std::vector<int32_t> prompt, int32_t max_tokens = 12);

  // To be changed before it is submitted.
  Request& request() { return *request_; }
  std::shared_ptr<Request> shared_request() const { return request_; }

  void AwaitTokens(size_t count);  // or the end
  void AwaitEnd();                 // fails the test after 60 s
  std::vector<TokenEvent> events() const;
  std::vector<int32_t> tokens() const;
  TokenEvent last_event() const;

 private:
  void Await(const std::function<bool()>& reached);

  std::shared_ptr<Request> request_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenEvent> events_;  // guarded by mutex_
  bool ended_ = false;              // guarded by mutex_
};

// Runs `clients` on a thread of its own against an engine on `num_ranks` ranks, then drains.
// Returns the engine's statistics at the end.
EngineStats RunTinyCluster(int num_ranks, const SchedulerConfig& config,
                           const std::function<void(Engine&)>& clients, StepHooks hooks = {});

// What greedy decoding of the tiny model gives, found by prefilling the whole context anew for
// every token on one rank, without engine or worker.
struct Reference {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  float gap_min = 0.0f;  // least distance from the best logit to the second
};
Reference GreedyReference(const std::vector<int32_t>& prompt, int num_tokens);

}  // namespace tamis
