// SPDX-License-Identifier: Apache-2.0
#include "launcher/shutdown.h"

#include <unistd.h>

#include "spdlog/spdlog.h"

namespace tamis {

void Shutdown::Serving(Engine* engine, GrpcServer* server) {
  const std::lock_guard<std::mutex> lock(mutex_);
  engine_ = engine;
  server_ = server;
}

void Shutdown::OnSignal(int signal) {
  const std::lock_guard<std::mutex> lock(mutex_);
  spdlog::info("signal {}", signal);
  if (engine_ == nullptr) {
    // Still loading, or already past the last request: nobody waits for anything.
    if (requests_ == 0) spdlog::error("stopped by a signal before serving");
    _exit(requests_ == 0 ? 1 : 0);
  }
  Drain();
}

void Shutdown::OnRpc() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (engine_ != nullptr && requests_ == 0) Drain();
}

void Shutdown::Drain() {
  ++requests_;
  if (requests_ > 2) _exit(1);
  server_->SetServing(false);
  signs_.SetState(RankState::kDraining);
  const auto grace = requests_ == 1 ? timeout_ : std::chrono::milliseconds(0);
  spdlog::info("draining: {} s for what runs", std::chrono::duration<double>(grace).count());
  engine_->Drain(std::chrono::steady_clock::now() + grace);
}

}  // namespace tamis
