// SPDX-License-Identifier: Apache-2.0
// The service over a real channel, with an engine that echoes.
#include "runtime/server/generate_service.h"

#include <chrono>
#include <future>
#include <thread>

#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "runtime/server/grpc_server.h"
#include "tests/runtime/server/service_harness.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

TEST_F(ServiceTest, StreamsTextTokensAndUsage) {
  const Result result = Generate(Ask("hello ", 9));
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.text, "hello hel");
  EXPECT_EQ(result.ids.size(), 9u);
  EXPECT_EQ(result.finish, v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(result.messages.back().usage().prompt_tokens(), 7);  // with BOS
  EXPECT_EQ(result.messages.back().usage().completion_tokens(), 9);
  EXPECT_FALSE(result.messages.front().request_id().empty());
  for (size_t i = 0; i + 1 < result.messages.size(); ++i) {
    EXPECT_EQ(result.messages[i].finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
    EXPECT_FALSE(result.messages[i].has_usage());
  }
}

TEST_F(ServiceTest, EosEndsAndIsNotText) {
  const Result result = Generate(Ask(std::string("ab\0", 3), 100));
  ASSERT_TRUE(result.status.ok());
  EXPECT_EQ(result.text, "ab");
  EXPECT_EQ(result.ids, (std::vector<int32_t>{'a', 'b', ByteTokenizer::kEos}));
  EXPECT_EQ(result.finish, v1::FINISH_REASON_STOP);
  EXPECT_EQ(result.messages.back().usage().completion_tokens(), 3);
}

TEST_F(ServiceTest, SpecialTokensAreTextOnlyWhenAskedFor) {
  v1::GenerateRequest request = Ask(std::string("a\0", 2), 3);
  request.mutable_sampling()->set_ignore_eos(true);
  EXPECT_EQ(Generate(request).text, "aa");
  request.mutable_sampling()->set_skip_special_tokens(false);
  EXPECT_EQ(Generate(request).text, "a</s>a");
}

TEST_F(ServiceTest, StopStringEndsTheRequestAndIsNotText) {
  v1::GenerateRequest request = Ask("one two three ", 1000);
  request.mutable_sampling()->add_stop("two t");
  const Result result = Generate(request);
  ASSERT_TRUE(result.status.ok());
  EXPECT_EQ(result.text, "one ");
  EXPECT_EQ(result.finish, v1::FINISH_REASON_STOP);
  EXPECT_EQ(result.ids.size(), 9u);  // up to the token that completed the match
  EXPECT_EQ(result.messages.back().usage().completion_tokens(), 9);
  EXPECT_TRUE(WaitUntilIdle());
  EXPECT_LT(engine_.tokens_emitted(), 100);
}

TEST_F(ServiceTest, TextIsWholeCharacters) {
  const Result result = Generate(Ask("\xF0\x9F\x98\x80", 6));
  ASSERT_TRUE(result.status.ok());
  // The second character is cut short by max_tokens.
  EXPECT_EQ(result.text, "\xF0\x9F\x98\x80\xEF\xBF\xBD");
  for (const v1::GenerateResponse& message : result.messages) {
    EXPECT_TRUE(IsUtf8(message.text()));
  }
}

TEST_F(ServiceTest, Logprobs) {
  v1::GenerateRequest request = Ask("xyz", 3);
  request.mutable_sampling()->set_logprobs(2);
  const Result result = Generate(request);
  ASSERT_TRUE(result.status.ok());
  std::vector<v1::Logprobs> logprobs;
  for (const v1::GenerateResponse& message : result.messages) {
    logprobs.insert(logprobs.end(), message.logprobs().begin(), message.logprobs().end());
  }
  ASSERT_EQ(logprobs.size(), 3u);
  EXPECT_EQ(logprobs[1].token_id(), 'y');
  EXPECT_EQ(logprobs[1].logprob(), -0.5f);
  ASSERT_EQ(logprobs[1].top_size(), 2);
  EXPECT_EQ(logprobs[1].top(1).token_id(), 1);
  EXPECT_EQ(logprobs[1].top(1).logprob(), -1.5f);
}

TEST_F(ServiceTest, TokenIdsGoInAsTheyAre) {
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids('q');
  request.mutable_sampling()->set_max_tokens(2);
  const Result result = Generate(request);
  EXPECT_EQ(result.text, "qq");
  EXPECT_EQ(result.messages.back().usage().prompt_tokens(), 1);
}

TEST_F(ServiceTest, BadRequestsAreExplained) {
  v1::GenerateRequest request = Ask("x", 0);
  Result result = Generate(request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(result.status.error_message().find("sampling.max_tokens: 0"), std::string::npos);

  result = Generate(Ask("\xC3(", 5));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(result.status.error_message(), "text: not valid UTF-8");

  result = Generate(Ask(std::string(5000, 'x'), 5));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(result.status.error_message().find("5001 tokens"), std::string::npos);

  request.mutable_token_ids();
  request.mutable_sampling()->set_max_tokens(1);
  result = Generate(request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  request.mutable_chat()->add_messages()->set_role("user");
  result = Generate(request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::UNIMPLEMENTED);  // no chat template
  EXPECT_EQ(engine_.tokens_emitted(), 0);
}

TEST_F(ServiceTest, AMillionTokensFitIntoAMessage) {
  v1::GenerateRequest request;
  for (int i = 0; i < 1'000'000; ++i) request.mutable_token_ids()->add_ids(200);
  request.mutable_sampling()->set_max_tokens(1);
  const Result result = Generate(request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(result.status.error_message().find("1000000 tokens"), std::string::npos)
      << result.status.error_message();

  const Result text = Generate(Ask(std::string(8 << 20, 'x'), 5));
  EXPECT_EQ(text.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, CancelStopsTheEngine) {
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Ask("endless", 4000));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  context.TryCancel();
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitUntilIdle());
  EXPECT_LT(engine_.tokens_emitted(), 4000);
}

TEST_F(ServiceTest, DeadlineIsHonoured) {
  engine_.set_step_time(milliseconds(5));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + milliseconds(100));
  const Result result = Generate(Ask("endless", 4000), &context);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(WaitUntilIdle());
}

TEST_F(ServiceTest, ASlowReaderBlocksNobody) {
  engine_.set_step_time(std::chrono::microseconds(0));
  grpc::ClientContext context;
  const auto slow = stub_->Generate(&context, Ask(std::string(64, 's'), 4900));
  const auto start = steady_clock::now();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Generate(Ask("quick", 50)).ids.size(), 50u);
  EXPECT_LT(steady_clock::now() - start, milliseconds(5000));
  EXPECT_TRUE(WaitUntilIdle());  // the slow one is done too, though nobody has read a word
  EXPECT_LT(engine_.slowest_event(), milliseconds(500));
  v1::GenerateResponse message;
  int tokens = 0;
  while (slow->Read(&message)) tokens += message.token_ids_size();
  EXPECT_TRUE(slow->Finish().ok());
  EXPECT_EQ(tokens, 4900);
  EXPECT_EQ(message.finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(ServiceTest, ManyStreamsAtOnce) {
  std::vector<std::thread> clients;
  std::atomic<int> right = 0;
  for (int c = 0; c < 32; ++c) {
    clients.emplace_back([&, c] {
      const std::string prompt = "client " + std::to_string(c) + "; ";
      for (int round = 0; round < 10; ++round) {
        const int tokens = 1 + (c * 7 + round * 13) % 90;
        std::string expected;
        while (static_cast<int>(expected.size()) < tokens) expected += prompt;
        expected.resize(static_cast<size_t>(tokens));
        if ((c + round) % 5 == 0) {
          grpc::ClientContext context;
          const auto reader = stub_->Generate(&context, Ask(prompt, 4000));
          v1::GenerateResponse message;
          reader->Read(&message);
          context.TryCancel();
          if (!reader->Finish().ok()) ++right;
        } else if (Generate(Ask(prompt, tokens)).text == expected) {
          ++right;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 320);
}

TEST_F(ServiceTest, FullQueueAndDraining) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>> readers;
  v1::GenerateResponse message;
  engine_.set_step_time(milliseconds(1));
  for (int i = 0; i < 64; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->Generate(contexts.back().get(), Ask("fill", 4000)));
    ASSERT_TRUE(readers.back()->Read(&message));
  }
  EXPECT_EQ(Generate(Ask("x", 1)).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  v1::DrainResponse drained;
  grpc::ClientContext drain;
  EXPECT_TRUE(stub_->Drain(&drain, {}, &drained).ok());
  for (const auto& context : contexts) context->TryCancel();
  EXPECT_TRUE(WaitUntilIdle());
  EXPECT_EQ(Generate(Ask("x", 1)).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  EXPECT_TRUE(stub_->GetServerInfo(&context, {}, &info).ok());
  EXPECT_TRUE(info.draining());
  readers.clear();
}

TEST_F(ServiceTest, ADyingEngineTellsEveryClient) {
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Ask("endless", 4000));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  engine_.AbortAll();
  while (reader->Read(&message)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "aborted");
}

TEST_F(ServiceTest, TokenizeDetokenizeAndInfo) {
  grpc::ClientContext tokenize;
  v1::TokenizeRequest text;
  text.set_text("hi");
  v1::TokenizeResponse ids;
  ASSERT_TRUE(stub_->Tokenize(&tokenize, text, &ids).ok());
  ASSERT_EQ(ids.token_ids_size(), 3);
  EXPECT_EQ(ids.token_ids(0), ByteTokenizer::kBos);
  EXPECT_EQ(ids.max_model_len(), 5000);

  grpc::ClientContext bad;
  text.set_text("\xFF");
  const grpc::Status status = stub_->Tokenize(&bad, text, &ids);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "text: not valid UTF-8");

  grpc::ClientContext detokenize;
  v1::DetokenizeRequest request;
  for (const int32_t id : std::vector<int32_t>{256, 'o', 'k', 257}) request.add_token_ids(id);
  v1::DetokenizeResponse back;
  ASSERT_TRUE(stub_->Detokenize(&detokenize, request, &back).ok());
  EXPECT_EQ(back.text(), "ok");

  grpc::ClientContext range;
  request.add_token_ids(258);
  EXPECT_EQ(stub_->Detokenize(&range, request, &back).error_message(),
            "token_ids[4]: 258; allowed is [0, 258)");

  grpc::ClientContext model;
  v1::GetModelInfoResponse info;
  ASSERT_TRUE(stub_->GetModelInfo(&model, {}, &info).ok());
  EXPECT_EQ(info.name(), "tiny");
  EXPECT_EQ(info.max_model_len(), 5000);
  EXPECT_FALSE(info.has_chat_template());
}

// A call of a service whose messages are not compiled in: bytes out, bytes back.
class RawStream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
            const std::string& request)
      : stub_(channel) {
    const grpc::Slice slice(request);
    request_ = grpc::ByteBuffer(&slice, 1);
    stub_.PrepareBidiStreamingCall(&context_, method, grpc::StubOptions(), this);
    StartRead(&response_);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartCall();
  }
  void OnReadDone(bool ok) override {
    grpc::Slice slice;
    if (ok && response_.DumpToSingleSlice(&slice).ok()) {
      bytes_.assign(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  void OnDone(const grpc::Status& status) override { done_.set_value(status); }
  // The first message, or the status as text.
  std::string Wait() {
    const grpc::Status status = done_.get_future().get();
    return status.ok() ? bytes_ : "error: " + status.error_message();
  }

 private:
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  std::string bytes_;
  std::promise<grpc::Status> done_;
};

TEST_F(ServiceTest, Health) {
  // HealthCheckRequest {service = 1}; HealthCheckResponse {status = 1}: SERVING 1, NOT_SERVING 2.
  for (const std::string& service : {std::string(), std::string("tamis.v1.Inference")}) {
    const std::string request =
        "\x0A" + std::string(1, static_cast<char>(service.size())) + service;
    const std::string method = "/grpc.health.v1.Health/Check";
    EXPECT_EQ(RawStream(channel_, method, request).Wait(), "\x08\x01");
    server_->SetServing(false);
    EXPECT_EQ(RawStream(channel_, method, request).Wait(), "\x08\x02");
    server_->SetServing(true);
  }
}

TEST_F(ServiceTest, ReflectionListsTheServices) {
  // ServerReflectionRequest {list_services = 7: "*"}
  const std::string answer =
      RawStream(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                "\x3A\x01*")
          .Wait();
  EXPECT_NE(answer.find("tamis.v1.Inference"), std::string::npos) << answer;
  EXPECT_NE(answer.find("grpc.health.v1.Health"), std::string::npos) << answer;
}

TEST_F(ServiceTest, ATakenPortIsAnError) {
  GenerateService other(TinyModel(), tokenizer_, engine_.Backend());
  const auto second = GrpcServer::Start(&other, "127.0.0.1", server_->port());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

// A tokenizer may know tokens that were added to it and not to the model.
TEST(GenerateService, RefusesTextWhoseTokensTheModelDoesNotEmbed) {
  const ByteTokenizer tokenizer;
  ServedModel model = TinyModel();
  model.config.vocab_size = ByteTokenizer::kBos;
  GenerateService service(model, tokenizer,
                          {[](std::shared_ptr<Request>) {
                             ADD_FAILURE() << "submitted";
                             return absl::UnavailableError("");
                           },
                           [](v1::GetServerInfoResponse*) {}, [] {}});
  auto server = GrpcServer::Start(&service, "127.0.0.1", 0);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto stub = v1::Inference::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string((*server)->port()), grpc::InsecureChannelCredentials()));
  v1::GenerateRequest request;
  request.set_text("hi");
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const auto reader = stub->Generate(&context, request);
  EXPECT_FALSE(reader->Read(&response));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "input: token[0]: 256; allowed is [0, 256)");
}

}  // namespace
}  // namespace tamis
