// SPDX-License-Identifier: Apache-2.0
// Many clients against a running server: every valid answer must equal the one given to the same
// prompt alone (greedy), cancelled and malformed requests among them, and no KV block may be left.
// Where the two likeliest tokens of the lone run are closer than rounding, answers may part: those
// are counted and printed.
// usage: load_driver TARGET [CLIENTS] [REQUESTS]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "proto/tamis.grpc.pb.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

// float32 logits of different batch compositions agree to about 1e-4; ten times that is a tie.
constexpr float kNearTie = 1e-3f;

struct Lone {
  v1::GenerateRequest request;
  std::vector<int32_t> ids;
  std::vector<float> gaps;  // between the two likeliest tokens, per position
};

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

std::vector<v1::GenerateRequest> MixedRequests() {
  const std::vector<std::string> openings = {
      "The capital of France is",
      "Once upon a time, in a small village by the sea,",
      "def fibonacci(n):\n",
      "Water boils at",
      "List three colours:\n1.",
      "In 1969, humans first",
      "La vie est",
      "SELECT name FROM users WHERE",
  };
  std::vector<v1::GenerateRequest> requests;
  for (size_t i = 0; i < 24; ++i) {
    std::string prompt;
    for (size_t copy = 0; copy <= i % 5 * 4; ++copy) {
      prompt += openings[(i + copy) % openings.size()] + " ";
    }
    v1::GenerateRequest request;
    request.set_text(prompt + openings[i % openings.size()]);
    request.mutable_sampling()->set_temperature(0);
    request.mutable_sampling()->set_max_tokens(static_cast<int32_t>(4 + i * 7 % 29));
    requests.push_back(request);
  }
  return requests;
}

grpc::Status Run(v1::Inference::Stub& stub, const v1::GenerateRequest& request, size_t cancel_after,
                 std::vector<int32_t>* ids, std::vector<float>* gaps) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(300));
  const auto reader = stub.Generate(&context, request);
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
    ids->insert(ids->end(), message.token_ids().begin(), message.token_ids().end());
    for (const v1::Logprobs& one : message.logprobs()) {
      if (gaps != nullptr) gaps->push_back(one.top(0).logprob() - one.top(1).logprob());
    }
    if (ids->size() >= cancel_after) context.TryCancel();
  }
  return reader->Finish();
}

class Driver {
 public:
  Driver(const std::string& target, int clients, int requests)
      : stub_(v1::Inference::NewStub(
            grpc::CreateChannel(target, grpc::InsecureChannelCredentials()))),
        clients_(clients),
        requests_(requests) {}

  int Main() {
    const double lone_rate = RunAlone();
    const Clock::time_point start = Clock::now();
    std::vector<std::thread> threads;
    for (int c = 0; c < clients_; ++c) threads.emplace_back([this] { Client(); });
    for (std::thread& thread : threads) thread.join();
    const double rate = static_cast<double>(tokens_) / Seconds(Clock::now() - start);
    const bool all_free = AllBlocksFree();
    std::printf(
        "%d requests by %d clients: %d right, %d near ties, %d wrong, %d cancelled, %d refused as "
        "malformed\n%.1f tokens/s together, %.1f alone: %.2f times\nblocks: %s\n",
        requests_, clients_, right_.load(), ties_.load(), wrong_.load(), cancelled_.load(),
        refused_.load(), rate, lone_rate, rate / lone_rate, all_free ? "all free" : "LEAKED");
    const bool all_answered = right_ + ties_ + cancelled_ + refused_ == requests_;
    return wrong_ == 0 && all_answered && all_free && right_ > ties_ ? 0 : 1;
  }

 private:
  // Tokens per second over all requests, one after the other.
  double RunAlone() {
    size_t tokens = 0;
    const Clock::time_point start = Clock::now();
    for (v1::GenerateRequest request : MixedRequests()) {
      Lone lone;
      lone.request = request;
      request.mutable_sampling()->set_logprobs(2);
      const grpc::Status status = Run(*stub_, request, SIZE_MAX, &lone.ids, &lone.gaps);
      if (!status.ok()) Wrong("alone: " + status.error_message());
      tokens += lone.ids.size();
      lone_.push_back(lone);
    }
    return static_cast<double>(tokens) / Seconds(Clock::now() - start);
  }

  void Client() {
    for (int i = next_++; i < requests_; i = next_++) {
      if (i % 20 == 7) {
        Malformed(i);
      } else if (i % 10 == 3) {
        Cancelled(i);
      } else {
        Valid(lone_[static_cast<size_t>(i) * 5 % lone_.size()]);
      }
    }
  }

  void Valid(const Lone& lone) {
    std::vector<int32_t> ids;
    const grpc::Status status = Run(*stub_, lone.request, SIZE_MAX, &ids, nullptr);
    tokens_ += ids.size();
    if (!status.ok()) return Wrong(status.error_message());
    if (ids == lone.ids) {
      ++right_;
      return;
    }
    const auto parted = std::mismatch(ids.begin(), ids.end(), lone.ids.begin(), lone.ids.end());
    const auto at = static_cast<size_t>(parted.first - ids.begin());
    if (at < lone.gaps.size() && lone.gaps[at] < kNearTie) {
      ++ties_;
    } else {
      Wrong("another answer than alone, from token " + std::to_string(at) + " on, gap " +
            (at < lone.gaps.size() ? std::to_string(lone.gaps[at]) : "none"));
    }
  }

  void Cancelled(int i) {
    v1::GenerateRequest request = lone_[static_cast<size_t>(i) % lone_.size()].request;
    request.mutable_sampling()->set_max_tokens(2000);
    request.mutable_sampling()->set_ignore_eos(true);
    std::vector<int32_t> ids;
    const grpc::Status status = Run(*stub_, request, 1 + static_cast<size_t>(i) % 7, &ids, nullptr);
    tokens_ += ids.size();
    if (status.error_code() != grpc::StatusCode::CANCELLED) return Wrong("not cancelled");
    ++cancelled_;
  }

  void Malformed(int i) {
    v1::GenerateRequest request = lone_[0].request;
    switch (i / 20 % 5) {
      case 0: request.mutable_sampling()->set_max_tokens(0); break;
      case 1: request.mutable_sampling()->set_top_p(-1); break;
      case 2: request.mutable_token_ids()->add_ids(1 << 30); break;
      case 3: request.clear_input(); break;
      default: request.set_model("another"); break;
    }
    std::vector<int32_t> ids;
    const grpc::Status status = Run(*stub_, request, SIZE_MAX, &ids, nullptr);
    if (status.error_code() != grpc::StatusCode::INVALID_ARGUMENT || !ids.empty()) {
      return Wrong("a malformed request was answered");
    }
    ++refused_;
  }

  // Cancelled requests are dropped at a step boundary, so this may take a moment.
  bool AllBlocksFree() {
    for (int tries = 0; tries < 100; ++tries) {
      grpc::ClientContext context;
      v1::GetServerInfoResponse info;
      if (!stub_->GetServerInfo(&context, {}, &info).ok()) return false;
      if (info.kv_blocks_free() == info.kv_blocks_total() && info.requests_running() == 0 &&
          info.requests_waiting() == 0) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  }

  void Wrong(const std::string& what) {
    ++wrong_;
    const std::lock_guard<std::mutex> lock(mutex_);
    std::printf("wrong: %s\n", what.c_str());
  }

  const std::unique_ptr<v1::Inference::Stub> stub_;
  const int clients_;
  const int requests_;
  std::vector<Lone> lone_;
  std::mutex mutex_;
  std::atomic<int> next_{0};
  std::atomic<int> right_{0};
  std::atomic<int> ties_{0};
  std::atomic<int> wrong_{0};
  std::atomic<int> cancelled_{0};
  std::atomic<int> refused_{0};
  std::atomic<size_t> tokens_{0};
};

}  // namespace
}  // namespace tamis

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: load_driver TARGET [CLIENTS] [REQUESTS]\n");
    return 2;
  }
  const int clients = argc > 2 ? std::stoi(argv[2]) : 16;
  const int requests = argc > 3 ? std::stoi(argv[3]) : 200;
  return tamis::Driver(argv[1], clients, requests).Main();
}
