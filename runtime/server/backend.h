// SPDX-License-Identifier: Apache-2.0
// What the gRPC edge needs from the rest: calls into the engine, a description of the model, who
// may call, and who wants to know how requests fared. Plain callables, so that tests drive the
// service with a scripted engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "proto/tamis.pb.h"
#include "runtime/engine/request.h"
#include "runtime/model/config.h"

namespace tamis {

// How one request fared, told once when it is over.
struct RequestSummary {
  FinishReason finish = FinishReason::kAbort;  // kAbort: an error, cancelled or timed out
  double e2e_seconds = 0;                      // from its arrival
  int64_t prompt_tokens = 0;
  int64_t generation_tokens = 0;
  int64_t max_tokens = 0;
};

// Called on the engine thread as it happens, but for `done`, which may come from a gRPC thread.
// None may block; any may be empty.
struct RequestObserver {
  std::function<void(double seconds, int64_t prompt_tokens)> first_token;  // since arrival
  std::function<void(double seconds)> next_token;                          // since the one before
  std::function<void(const RequestSummary&)> done;
};

// Called from any gRPC thread, several at a time; none may block.
struct ServiceBackend {
  // OK, RESOURCE_EXHAUSTED (queue full) or UNAVAILABLE (draining).
  std::function<absl::Status(std::shared_ptr<Request>)> submit;
  std::function<void(v1::GetServerInfoResponse*)> fill_info;
  std::function<void()> drain;
  // Whether the value of a call's "authorization" metadata ("" = none) lets it in. Empty = all.
  std::function<bool(std::string_view authorization)> authorize = {};
  RequestObserver observer = {};
};

struct ServedModel {
  std::string name;
  ModelConfig config;
  std::string dtype;
  int64_t max_model_len = 0;
  std::vector<int32_t> eos_token_ids;
  int64_t max_streams = 1024;  // that are not over, those that only the client holds up included
};

}  // namespace tamis
