// SPDX-License-Identifier: Apache-2.0
// How a server ends in good order.
#pragma once

#include <chrono>
#include <mutex>

#include "launcher/vital_signs.h"
#include "runtime/engine/engine.h"
#include "runtime/server/grpc_server.h"

namespace tamis {

// Turns signals and the RPC into a drain: the first finishes what runs, the second ends it at
// once, the third does not wait for anything. Thread-safe.
class Shutdown {
 public:
  // `timeout`: what running requests get. `signs` outlives it.
  Shutdown(std::chrono::milliseconds timeout, VitalSigns& signs)
      : timeout_(timeout), signs_(signs) {}

  // From here on a drain has something to finish.
  void Serving(Engine* engine, GrpcServer* server);
  void Ended() { Serving(nullptr, nullptr); }

  void OnSignal(int signal);
  void OnRpc();

 private:
  void Drain();  // REQUIRES: mutex_ held

  const std::chrono::milliseconds timeout_;
  VitalSigns& signs_;
  std::mutex mutex_;
  // Guarded by mutex_.
  Engine* engine_ = nullptr;
  GrpcServer* server_ = nullptr;
  int requests_ = 0;
};

}  // namespace tamis
