// SPDX-License-Identifier: Apache-2.0
// The service over a real channel, with an engine that echoes.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "runtime/server/generate_service.h"
#include "runtime/server/grpc_server.h"
#include "tests/runtime/server/fake_engine.h"

namespace tamis {

inline ServedModel TinyModel() {
  ServedModel model;
  model.name = "tiny";
  model.config.architecture = "llama";
  model.config.num_layers = 2;
  model.config.vocab_size = 258;
  model.dtype = "float32";
  model.max_model_len = 5000;
  model.eos_token_ids = {ByteTokenizer::kEos};
  return model;
}

struct Result {
  grpc::Status status;
  std::vector<v1::GenerateResponse> messages;
  std::string text;
  std::vector<int32_t> ids;
  v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED;
};

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    service_ = std::make_unique<GenerateService>(model(), tokenizer(), engine_.Backend());
    auto server = GrpcServer::Start(service_.get(), "127.0.0.1", 0);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    server_->SetServing(true);
    address_ = "127.0.0.1:" + std::to_string(server_->port());
    channel_ = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
    stub_ = v1::Inference::NewStub(channel_);
  }
  // The engine must have let go of every request by the end of a test.
  void TearDown() override {
    EXPECT_TRUE(WaitUntilIdle());
    stub_.reset();
    channel_.reset();
    server_.reset();
  }

  bool WaitUntilIdle() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(5000);
    while (engine_.num_running() > 0) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

  static v1::GenerateRequest Ask(const std::string& text, int max_tokens) {
    v1::GenerateRequest request;
    request.set_text(text);
    request.mutable_sampling()->set_max_tokens(max_tokens);
    return request;
  }

  Result Generate(const v1::GenerateRequest& request, grpc::ClientContext* context = nullptr) {
    grpc::ClientContext own;
    Result result;
    const auto reader = stub_->Generate(context == nullptr ? &own : context, request);
    v1::GenerateResponse message;
    while (reader->Read(&message)) {
      result.text += message.text();
      result.ids.insert(result.ids.end(), message.token_ids().begin(), message.token_ids().end());
      result.finish = message.finish_reason();
      result.messages.push_back(message);
    }
    result.status = reader->Finish();
    return result;
  }

  virtual const Tokenizer& tokenizer() const { return tokenizer_; }
  virtual ServedModel model() const { return TinyModel(); }

  const ByteTokenizer tokenizer_;
  EchoEngine engine_{64};
  std::unique_ptr<GenerateService> service_;
  std::unique_ptr<GrpcServer> server_;
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace tamis
