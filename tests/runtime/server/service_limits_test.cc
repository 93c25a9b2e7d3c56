// SPDX-License-Identifier: Apache-2.0
// What one client asks for must not take what all need: gRPC's threads, memory, streams.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/health.grpc.pb.h"
#include "runtime/server/encode_pool.h"
#include "tests/runtime/server/service_harness.h"

namespace tamis {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

// Long texts take until they are let go.
class SlowTokenizer final : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_bos,
                                              bool parse_special) const override {
    if (text.size() > EncodePool::kShortBytes) let_go_.wait();
    return bytes_.Encode(text, add_bos, parse_special);
  }
  std::string_view TokenBytes(int32_t id, bool skip_special) const override {
    return bytes_.TokenBytes(id, skip_special);
  }
  int32_t vocab_size() const override { return bytes_.vocab_size(); }
  int32_t bos_token_id() const override { return bytes_.bos_token_id(); }
  std::vector<int32_t> eos_token_ids() const override { return bytes_.eos_token_ids(); }
  bool IsSpecial(int32_t id) const override { return bytes_.IsSpecial(id); }
  const std::string& chat_template_source() const override { return bytes_.chat_template_source(); }

  void LetGo() { let_go_.count_down(); }

 private:
  ByteTokenizer bytes_;
  mutable std::latch let_go_{1};
};

class SlowTokenizerTest : public ServiceTest {
 protected:
  const Tokenizer& tokenizer() const override { return slow_; }
  ServedModel model() const override {
    ServedModel model = TinyModel();
    model.max_model_len = 100'000;
    return model;
  }
  SlowTokenizer slow_;
};

TEST_F(SlowTokenizerTest, LongTextsHoldUpNobodyElse) {
  const std::string text(EncodePool::kShortBytes + 1, 'a');
  std::vector<std::future<grpc::Status>> tokenized;
  for (int i = 0; i < 16; ++i) {
    tokenized.push_back(std::async(std::launch::async, [&] {
      grpc::ClientContext context;
      v1::TokenizeRequest request;
      request.set_text(text);
      v1::TokenizeResponse response;
      return stub_->Tokenize(&context, request, &response);
    }));
  }
  auto generated = std::async(std::launch::async, [&] { return Generate(Ask(text, 2)); });
  // All of them are with the server.
  std::this_thread::sleep_for(milliseconds(300));
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + seconds(3));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("liveness");
  grpc::health::v1::HealthCheckResponse response;
  EXPECT_TRUE(health->Check(&context, request, &response).ok());
  grpc::ClientContext soon;
  soon.set_deadline(std::chrono::system_clock::now() + seconds(3));
  EXPECT_EQ(Generate(Ask("short", 5), &soon).text, "short");
  slow_.LetGo();
  for (auto& status : tokenized) EXPECT_TRUE(status.get().ok());
  EXPECT_EQ(generated.get().text, "aa");
}

TEST_F(SlowTokenizerTest, ACallThatEndsBeforeItIsTokenizedNeverReachesTheEngine) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + milliseconds(100));
  const std::string text(EncodePool::kShortBytes + 1, 'a');
  EXPECT_EQ(Generate(Ask(text, 2), &context).status.error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  slow_.LetGo();
  EXPECT_EQ(Generate(Ask("short", 5)).text, "short");
}

class FewStreamsTest : public ServiceTest {
 protected:
  ServedModel model() const override {
    ServedModel model = TinyModel();
    model.max_streams = 2;
    return model;
  }
};

TEST_F(FewStreamsTest, StreamsAreCountedUntilTheyAreOver) {
  engine_.set_step_time(milliseconds(5));
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>> readers;
  for (int i = 0; i < 2; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->Generate(contexts.back().get(), Ask("endless", 4000)));
    v1::GenerateResponse message;
    ASSERT_TRUE(readers.back()->Read(&message));
  }
  const Result refused = Generate(Ask("more", 4));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("too many streams"));
  for (const auto& context : contexts) context->TryCancel();
  for (const auto& reader : readers) {
    v1::GenerateResponse message;
    while (reader->Read(&message)) {
    }
    reader->Finish();
  }
  grpc::Status status = refused.status;
  for (int i = 0; i < 200 && !status.ok(); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
    status = Generate(Ask("more", 4)).status;
  }
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(ServiceTest, CompressedMessagesAreRefusedUnread) {
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::TokenizeRequest request;
  request.set_text(std::string(1 << 20, 'a'));
  v1::TokenizeResponse response;
  EXPECT_EQ(stub_->Tokenize(&context, request, &response).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ServiceTest, TextsHaveABound) {
  grpc::ClientContext context, another;
  v1::TokenizeRequest request;
  request.set_text(std::string(static_cast<size_t>(kTextBytesMax) + 1, 'a'));
  v1::TokenizeResponse response;
  const grpc::Status longer = stub_->Tokenize(&context, request, &response);
  EXPECT_EQ(longer.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(longer.error_message(), HasSubstr("allowed are at most 16777216"));

  v1::DetokenizeRequest ids;
  ids.set_skip_special_tokens(false);
  for (int64_t i = 0; i < kTextBytesMax / 4 + 1; ++i) ids.add_token_ids(ByteTokenizer::kEos);
  v1::DetokenizeResponse text;
  const grpc::Status refused = stub_->Detokenize(&another, ids, &text);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), HasSubstr("16777220 bytes of text"));
}

class LongAnswersTest : public ServiceTest {
 protected:
  ServedModel model() const override {
    ServedModel model = TinyModel();
    model.max_model_len = 100'000;
    return model;
  }
};

// What a client that does not read has coming is cut into messages that it can take.
TEST_F(LongAnswersTest, MessagesStaySmallHoweverMuchWaits) {
  constexpr int kTokens = 40'000;
  engine_.set_step_time(std::chrono::microseconds(0));
  v1::GenerateRequest request = Ask("endless", kTokens);
  request.mutable_sampling()->set_logprobs(20);
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, request);
  ASSERT_TRUE(WaitUntilIdle());
  int num_tokens = 0;
  size_t largest = 0;
  v1::GenerateResponse message, last;
  for (; reader->Read(&message); last = message) {
    num_tokens += message.token_ids_size();
    EXPECT_EQ(message.logprobs_size(), message.token_ids_size());
    largest = std::max(largest, message.ByteSizeLong());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(num_tokens, kTokens);
  EXPECT_EQ(last.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(last.usage().completion_tokens(), kTokens);
  EXPECT_LT(largest, size_t{600} << 10);
}

TEST(EncodePoolTest, RunsShortTextsAtOnceAndLimitsWhatWaits) {
  constexpr size_t kLong = EncodePool::kShortBytes + 1;
  int ran = 0;
  std::latch let_go(1), begun(1);
  std::atomic<int> ran_later{0};
  {
    EncodePool pool(1, 2 * kLong);
    EXPECT_TRUE(pool.Run(10, [&] { ++ran; }).ok());
    EXPECT_EQ(ran, 1);
    const auto wait = [&] {
      begun.count_down();
      let_go.wait();
    };
    EXPECT_TRUE(pool.Run(kLong, wait).ok());
    begun.wait();
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(pool.Run(kLong, [&] { ++ran_later; }).ok());
    EXPECT_TRUE(absl::IsResourceExhausted(pool.Run(kLong, [&] { ++ran_later; })));
    let_go.count_down();
  }
  EXPECT_EQ(ran_later, 2);
}

}  // namespace
}  // namespace tamis
