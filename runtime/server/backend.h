// SPDX-License-Identifier: Apache-2.0
// What the gRPC edge needs from the rest: three calls into the engine and a description of the
// model. Plain callables, so that tests drive the service with a scripted engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/tamis.pb.h"
#include "runtime/engine/request.h"
#include "runtime/model/config.h"

namespace tamis {

// Called from any gRPC thread, several at a time; none may block.
struct ServiceBackend {
  // OK, RESOURCE_EXHAUSTED (queue full) or UNAVAILABLE (draining).
  std::function<absl::Status(std::shared_ptr<Request>)> submit;
  std::function<void(v1::GetServerInfoResponse*)> fill_info;
  std::function<void()> drain;
};

struct ServedModel {
  std::string name;
  ModelConfig config;
  std::string dtype;
  int64_t max_model_len = 0;
  std::vector<int32_t> eos_token_ids;
};

}  // namespace tamis
