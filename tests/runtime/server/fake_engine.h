// SPDX-License-Identifier: Apache-2.0
// A tokenizer of bytes and an engine that echoes the prompt for ever: enough to drive the service
// through a real channel without a model.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "runtime/engine/request.h"
#include "runtime/server/backend.h"
#include "runtime/tokenizer/tokenizer.h"

namespace tamis {

// Ids 0 to 255 are bytes, then BOS and EOS.
class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kBos = 256;
  static constexpr int32_t kEos = 257;

  ByteTokenizer() {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<char>(i);
  }
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_bos,
                                              bool) const override {
    std::vector<int32_t> ids;
    if (add_bos) ids.push_back(kBos);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string_view TokenBytes(int32_t id, bool skip_special) const override {
    if (id >= 0 && id < 256) return std::string_view(&bytes_[static_cast<size_t>(id)], 1);
    if (skip_special) return "";
    return id == kBos ? "<s>" : id == kEos ? "</s>" : "";
  }
  int32_t vocab_size() const override { return 258; }
  int32_t bos_token_id() const override { return kBos; }
  std::vector<int32_t> eos_token_ids() const override { return {kEos}; }
  bool IsSpecial(int32_t id) const override { return id >= 256; }
  const std::string& chat_template_source() const override { return template_; }

 private:
  std::array<char, 256> bytes_;
  std::string template_;
};

// Each step gives every request the next token of its prompt (BOS left out), over and over. A zero
// byte in the prompt stands for EOS. Thread-safe.
class EchoEngine {
 public:
  explicit EchoEngine(size_t capacity) : capacity_(capacity), thread_([this] { Run(); }) {}
  ~EchoEngine() {
    stop_ = true;
    thread_.join();
  }

  absl::Status Submit(std::shared_ptr<Request> request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (draining_) return absl::UnavailableError("draining");
    if (running_.size() >= capacity_) return absl::ResourceExhaustedError("full");
    running_.push_back({std::move(request), 0});
    return absl::OkStatus();
  }
  void Drain() { draining_ = true; }
  // Between steps.
  void set_step_time(std::chrono::microseconds time) { step_time_us_ = time.count(); }
  // Ends everything as a dying engine would.
  void AbortAll() { abort_ = true; }

  size_t num_running() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return running_.size();
  }
  int64_t tokens_emitted() const { return tokens_; }
  std::chrono::microseconds slowest_event() const {
    return std::chrono::microseconds(slowest_event_us_.load());
  }

  ServiceBackend Backend() {
    return {[this](std::shared_ptr<Request> request) { return Submit(std::move(request)); },
            [this](v1::GetServerInfoResponse* info) {
              info->set_requests_running(static_cast<int64_t>(num_running()));
              info->set_draining(draining_);
            },
            [this] { Drain(); }};
  }

 private:
  struct Running {
    std::shared_ptr<Request> request;
    size_t num_generated;
  };

  // False once the request has ended.
  bool Step(Running& running) {
    Request& request = *running.request;
    TokenEvent event;
    const bool late = std::chrono::steady_clock::now() > request.deadline;
    if (request.cancelled || late || abort_) {
      event.finish = FinishReason::kAbort;
      event.abort_reason = late ? "the deadline passed" : "aborted";
      event.abort_is_deadline = late;
    } else {
      std::vector<int32_t> loop = request.prompt;
      std::erase(loop, ByteTokenizer::kBos);
      const int32_t id = loop[running.num_generated % loop.size()];
      event.token_id = id == 0 ? ByteTokenizer::kEos : id;
      ++running.num_generated;
      ++tokens_;
      event.logprobs.logprob = -0.5f;
      for (int32_t i = 0; i < request.sampling.num_logprobs; ++i) {
        event.logprobs.top.emplace_back(i, -0.5f - static_cast<float>(i));
      }
      if (event.token_id == ByteTokenizer::kEos && !request.sampling.ignore_eos) {
        event.finish = FinishReason::kStop;
      } else if (running.num_generated == static_cast<size_t>(request.sampling.max_tokens)) {
        event.finish = FinishReason::kLength;
      }
    }
    const auto start = std::chrono::steady_clock::now();
    request.on_token(event);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::steady_clock::now() - start);
    slowest_event_us_ = std::max<int64_t>(slowest_event_us_, took.count());
    return event.finish == FinishReason::kNone;
  }

  void Run() {
    while (!stop_) {
      std::vector<Running> now;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        now = running_;
      }
      std::vector<std::shared_ptr<Request>> ended;
      for (Running& running : now) {
        if (!Step(running)) ended.push_back(running.request);
      }
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (size_t i = 0; i < now.size(); ++i) running_[i].num_generated = now[i].num_generated;
        std::erase_if(running_, [&](const Running& running) {
          return std::find(ended.begin(), ended.end(), running.request) != ended.end();
        });
      }
      std::this_thread::sleep_for(std::chrono::microseconds(step_time_us_));
    }
  }

  const size_t capacity_;
  std::mutex mutex_;
  std::vector<Running> running_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> abort_{false};
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> step_time_us_{100};
  std::atomic<int64_t> tokens_{0};
  std::atomic<int64_t> slowest_event_us_{0};
  std::thread thread_;
};

}  // namespace tamis
