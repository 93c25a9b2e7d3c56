// SPDX-License-Identifier: Apache-2.0
// Every bad field, one by one: the message must name it.
#include "runtime/server/validate.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/server/wire.h"

namespace tamis {
namespace {

const RequestLimits kLimits{"tiny", 100, 50};

v1::GenerateRequest Good() {
  v1::GenerateRequest request;
  request.set_text("hello");
  return request;
}

struct Case {
  std::string name;
  std::function<void(v1::GenerateRequest&)> spoil;
  std::string expected;  // stands in the message
};

TEST(Validate, IdsAndTextsHaveABound) {
  v1::GenerateRequest request = Good();
  request.set_request_id(std::string(kRequestIdBytesMax, 'x'));
  EXPECT_TRUE(ValidateRequest(request, kLimits).ok());
  request.set_request_id(std::string(kRequestIdBytesMax + 1, 'x'));
  EXPECT_EQ(ValidateRequest(request, kLimits).message(),
            "request_id: 257 bytes; allowed are at most 256");

  RequestLimits limits = kLimits;
  limits.max_model_len = 10;
  limits.token_bytes_max = 3;
  request = Good();
  request.set_text(std::string(30, 'x'));
  EXPECT_TRUE(ValidateRequest(request, limits).ok());
  request.set_text(std::string(31, 'x'));
  EXPECT_EQ(
      ValidateRequest(request, limits).message(),
      "input: 31 bytes of text; allowed are at most 30, what max_model_len (10) of the longest "
      "token hold");
  for (int i = 0; i < 7; ++i) request.mutable_chat()->add_messages()->set_role("user");
  EXPECT_TRUE(ValidateRequest(request, limits).ok());
  request.mutable_chat()->add_messages()->set_role("user");
  EXPECT_FALSE(ValidateRequest(request, limits).ok()) << "roles count";
}

std::vector<Case> BadSelection() {
  using Request = v1::GenerateRequest;
  return {
      {"mode",
       [](Request& r) { r.mutable_selection()->set_mode(static_cast<v1::SelectionMode>(4)); },
       "selection.mode: 4; allowed is [0, 3]"},
      {"count", [](Request& r) { r.mutable_selection()->set_num_selected_tokens(0); },
       "selection.num_selected_tokens: 0; it must be at least 1"},
      {"fraction 0", [](Request& r) { r.mutable_selection()->set_selected_fraction(0); },
       "selection.selected_fraction: 0; allowed is (0, 1]"},
      {"fraction 2", [](Request& r) { r.mutable_selection()->set_selected_fraction(2); },
       "selection.selected_fraction: 2"},
      {"fraction nan",
       [](Request& r) { r.mutable_selection()->set_selected_fraction(std::nan("")); },
       "selection.selected_fraction: nan"},
  };
}

std::vector<Case> BadSampling() {
  using Request = v1::GenerateRequest;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  return {
      {"max_tokens 0", [](Request& r) { r.mutable_sampling()->set_max_tokens(0); },
       "sampling.max_tokens: 0; allowed is [1, "},
      {"max_tokens -1", [](Request& r) { r.mutable_sampling()->set_max_tokens(-1); },
       "sampling.max_tokens: -1"},
      {"temperature -0.1", [](Request& r) { r.mutable_sampling()->set_temperature(-0.1f); },
       "sampling.temperature: -0.1; allowed is [0, 100]"},
      {"temperature nan", [=](Request& r) { r.mutable_sampling()->set_temperature(nan); },
       "sampling.temperature: nan"},
      {"temperature inf", [=](Request& r) { r.mutable_sampling()->set_temperature(inf); },
       "sampling.temperature: inf"},
      {"top_k -1", [](Request& r) { r.mutable_sampling()->set_top_k(-1); }, "sampling.top_k: -1"},
      {"top_p 0", [](Request& r) { r.mutable_sampling()->set_top_p(0); },
       "sampling.top_p: 0; allowed is (0, 1]"},
      {"top_p 1.5", [](Request& r) { r.mutable_sampling()->set_top_p(1.5f); },
       "sampling.top_p: 1.5"},
      {"top_p nan", [=](Request& r) { r.mutable_sampling()->set_top_p(nan); }, "sampling.top_p"},
      {"min_p -1", [](Request& r) { r.mutable_sampling()->set_min_p(-1); }, "sampling.min_p: -1"},
      {"min_p 2", [](Request& r) { r.mutable_sampling()->set_min_p(2); }, "sampling.min_p: 2"},
      {"min_p nan", [=](Request& r) { r.mutable_sampling()->set_min_p(nan); }, "sampling.min_p"},
      {"logprobs -1", [](Request& r) { r.mutable_sampling()->set_logprobs(-1); },
       "sampling.logprobs: -1; allowed is [0, 20]"},
      {"logprobs 21", [](Request& r) { r.mutable_sampling()->set_logprobs(21); },
       "sampling.logprobs: 21"},
      {"stop empty", [](Request& r) { r.mutable_sampling()->add_stop(""); },
       "sampling.stop[0]: 0 bytes"},
      {"stop long", [](Request& r) { r.mutable_sampling()->add_stop(std::string(1025, 'x')); },
       "sampling.stop[0]: 1025 bytes"},
      {"stop utf8",
       [](Request& r) {
         r.mutable_sampling()->add_stop("fine");
         r.mutable_sampling()->add_stop("\xC3");
       },
       "sampling.stop[1]: not valid UTF-8"},
      {"stop many",
       [](Request& r) {
         for (int i = 0; i < 17; ++i) r.mutable_sampling()->add_stop("x");
       },
       "sampling.stop: 17 strings"},
      {"stop ids", [](Request& r) { r.mutable_sampling()->add_stop_token_ids(50); },
       "sampling.stop_token_ids[0]: 50; allowed is [0, 50)"},
      {"stop ids many",
       [](Request& r) {
         for (int i = 0; i < 65; ++i) r.mutable_sampling()->add_stop_token_ids(1);
       },
       "sampling.stop_token_ids: 65 ids"},
  };
}

std::vector<Case> BadInput() {
  using Request = v1::GenerateRequest;
  return {
      {"no input", [](Request& r) { r.clear_input(); }, "input: not set"},
      {"text utf8", [](Request& r) { r.set_text("ab\xFF"); }, "text: not valid UTF-8"},
      {"token id -1", [](Request& r) { r.mutable_token_ids()->add_ids(-1); },
       "token_ids.ids[0]: -1; allowed is [0, 50)"},
      {"token id 50",
       [](Request& r) {
         r.mutable_token_ids()->add_ids(49);
         r.mutable_token_ids()->add_ids(50);
       },
       "token_ids.ids[1]: 50"},
      {"chat empty", [](Request& r) { r.mutable_chat(); }, "chat.messages: empty"},
      {"chat role",
       [](Request& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         r.mutable_chat()->add_messages()->set_role("wizard");
       },
       "chat.messages[1].role: \"wizard\"; allowed are system, user and assistant"},
      {"chat utf8",
       [](Request& r) {
         v1::ChatMessage* message = r.mutable_chat()->add_messages();
         message->set_role("user");
         message->set_content("\xED\xA0\x80");
       },
       "chat.messages[0].content: not valid UTF-8"},
      {"model", [](Request& r) { r.set_model("gpt"); },
       "model: \"gpt\"; this server serves \"tiny\""},
  };
}

TEST(Validate, NamesTheBadField) {
  std::vector<Case> cases = BadSampling();
  for (Case& bad : BadInput()) cases.push_back(bad);
  for (Case& bad : BadSelection()) cases.push_back(bad);
  for (const Case& bad : cases) {
    v1::GenerateRequest request = Good();
    bad.spoil(request);
    const absl::Status status = ValidateRequest(request, kLimits);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.name;
    const std::string message(status.message().data(), status.message().size());
    EXPECT_NE(message.find(bad.expected), std::string::npos) << bad.name << ": " << message;
  }
}

TEST(Validate, SelectionBecomesTheEngines) {
  v1::SelectionOptions options;
  EXPECT_EQ(ToSelectionParams(options).mode, SelectionMode::kAuto);
  EXPECT_FALSE(ToSelectionParams(options).budget.has_value());
  options.set_mode(v1::SELECTION_MODE_ON);
  options.set_num_selected_tokens(100);
  EXPECT_EQ(ToSelectionParams(options).mode, SelectionMode::kOn);
  EXPECT_EQ(ToSelectionParams(options).budget, (SelectionBudget{100, 0.0}));
  options.set_mode(v1::SELECTION_MODE_OFF);
  options.set_selected_fraction(0.067);
  EXPECT_EQ(ToSelectionParams(options).mode, SelectionMode::kOff);
  EXPECT_EQ(ToSelectionParams(options).budget, (SelectionBudget{0, 0.067}));
}

TEST(Validate, TakesTheEdgesOfWhatIsAllowed) {
  v1::GenerateRequest request = Good();
  request.set_model("tiny");
  v1::SamplingOptions& sampling = *request.mutable_sampling();
  sampling.set_max_tokens(1);
  sampling.set_temperature(0);
  sampling.set_top_k(0);
  sampling.set_top_p(1);
  sampling.set_min_p(1);
  sampling.set_logprobs(20);
  sampling.add_stop(std::string(1024, 'x'));
  sampling.add_stop_token_ids(49);
  EXPECT_TRUE(ValidateRequest(request, kLimits).ok());
  EXPECT_TRUE(ValidateRequest(Good(), kLimits).ok());
}

TEST(Validate, PromptLength) {
  EXPECT_FALSE(ValidatePromptLength(0, kLimits).ok());
  EXPECT_TRUE(ValidatePromptLength(1, kLimits).ok());
  EXPECT_TRUE(ValidatePromptLength(99, kLimits).ok());
  EXPECT_FALSE(ValidatePromptLength(100, kLimits).ok());
}

TEST(Validate, SamplingParams) {
  v1::SamplingOptions options;
  SamplingParams params = ToSamplingParams(options, 10, kLimits, 77);
  EXPECT_EQ(params.max_tokens, 90);
  EXPECT_EQ(params.seed, 77u);
  EXPECT_EQ(params.temperature, 1.0f);
  EXPECT_EQ(params.num_logprobs, -1);

  options.set_max_tokens(1000);
  options.set_seed(0);
  options.set_temperature(0);
  options.set_logprobs(0);
  options.set_ignore_eos(true);
  options.add_stop_token_ids(3);
  params = ToSamplingParams(options, 10, kLimits, 77);
  EXPECT_EQ(params.max_tokens, 90);
  EXPECT_EQ(params.seed, 0u);
  EXPECT_EQ(params.temperature, 0.0f);
  EXPECT_EQ(params.num_logprobs, 0);
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_EQ(params.stop_token_ids, std::vector<int32_t>{3});
}

TEST(Validate, Utf8) {
  for (const char* good : {"", "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
                           "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF", "\xEE\x80\x80"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xC3", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE2\x82", "\xED\xA0\x80",
        "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "a\xFFz", "\xE2\x28\xA1"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
  EXPECT_TRUE(IsUtf8(std::string_view("a\0b", 3)));
}

TEST(Wire, MalformedMessagesAreExplained) {
  // A string that is not UTF-8 makes protobuf refuse the whole message.
  v1::GenerateRequest request = Good();
  request.mutable_sampling()->add_stop("ok");
  std::string bytes = request.SerializeAsString();
  bytes.replace(bytes.find("ok"), 2, "\xC3\x28");
  v1::GenerateRequest parsed;
  const grpc::Slice slice(bytes);
  absl::Status status = ParseMessage(grpc::ByteBuffer(&slice, 1), &parsed);
  EXPECT_EQ(status, absl::InvalidArgumentError("sampling.stop[0]: not valid UTF-8"));

  const grpc::Slice garbage(std::string("\x0A\xFF\xFF\xFF\xFF\x0F"));
  status = ParseMessage(grpc::ByteBuffer(&garbage, 1), &parsed);
  EXPECT_EQ(status,
            absl::InvalidArgumentError("request: the bytes are no tamis.v1.GenerateRequest"));

  ASSERT_TRUE(ParseMessage(SerializeMessage(Good()), &parsed).ok());
  EXPECT_EQ(parsed.text(), "hello");
}

}  // namespace
}  // namespace tamis
