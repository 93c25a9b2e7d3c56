// SPDX-License-Identifier: Apache-2.0
// A client's request as the engine sees it: integers in, token events out. No text.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/model/selection_config.h"

namespace tamis {

struct SamplingParams {
  float temperature = 1.0f;  // 0 = greedy
  int32_t top_k = 0;         // 0 = off
  float top_p = 1.0f;        // (0, 1]
  float min_p = 0.0f;        // [0, 1]
  uint64_t seed = 0;         // chosen at random by the server when the client gives none
  int32_t max_tokens = 16;   // at least 1
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;
  int32_t num_logprobs = -1;  // -1 = none, 0 = the sampled token's, n = the n most likely too
};

// How this request selects; everything else about selection is the server's.
struct SelectionParams {
  SelectionMode mode = SelectionMode::kAuto;
  std::optional<SelectionBudget> budget;  // none = the server's
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kAbort };

struct TokenLogprobs {
  float logprob = 0.0f;                        // of the sampled token
  std::vector<std::pair<int32_t, float>> top;  // in descending order
};

// One sampled token, or the end of the request without one.
struct TokenEvent {
  int32_t token_id = -1;                      // -1 = no token (abort)
  TokenLogprobs logprobs;                     // filled when asked for
  FinishReason finish = FinishReason::kNone;  // on the last event
  std::string abort_reason;                   // for kAbort, a sentence for the client
  bool abort_is_deadline = false;
};

// Shared by the server's stream and the engine (two threads; the only shared_ptr in the engine).
// Everything but `cancelled` is constant after Submit.
struct Request {
  std::string id;
  std::vector<int32_t> prompt;  // not empty
  SamplingParams sampling;
  SelectionParams selection;
  std::vector<int32_t> eos_token_ids;
  std::chrono::steady_clock::time_point arrival = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();

  // Called on the engine thread, in order; must not block. Never called after an event with
  // finish != kNone.
  std::function<void(const TokenEvent&)> on_token;

  // Set by any thread; the engine acts at its next step.
  std::atomic<bool> cancelled{false};
};

}  // namespace tamis
