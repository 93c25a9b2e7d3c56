// SPDX-License-Identifier: Apache-2.0
// What Prometheus would read, over HTTP.
#include "launcher/metrics.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/step_watch.h"
#include "launcher/vital_signs.h"
#include "parallel/groups.h"
#include "parallel/heartbeat.h"

namespace tamis {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Get(int port) {
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  const timeval limit{5, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  const std::string request = "GET /metrics HTTP/1.0\r\nConnection: close\r\n\r\n";
  if (connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      send(connection, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
    std::array<char, 4096> piece = {};
    for (ssize_t n = 1; (n = recv(connection, piece.data(), piece.size(), 0)) > 0;) {
      answer.append(piece.data(), static_cast<size_t>(n));
    }
  }
  close(connection);
  return answer;
}

class MetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto metrics = Metrics::Start({"127.0.0.1", 0, "m", 100}, [this] { return snapshot_; });
    ASSERT_TRUE(metrics.ok()) << metrics.status();
    metrics_ = *std::move(metrics);
  }
  // `name{labels}` in Prometheus' order of ours.
  static std::string Line(const std::string& name, const std::string& value,
                          const std::string& more = "") {
    return "\n" + name + "{engine=\"0\",model_name=\"m\"" + more + "} " + value + "\n";
  }

  MetricsSnapshot snapshot_;
  std::unique_ptr<Metrics> metrics_;
};

TEST_F(MetricsTest, CountsWhatStreamsTell) {
  const RequestObserver observer = metrics_->observer();
  observer.first_token(0.05, 12);
  observer.next_token(0.02);
  observer.next_token(0.3);
  observer.done({FinishReason::kLength, 1.2, 12, 3, 3});
  observer.done({FinishReason::kAbort, 0.1, 5, 0, 16});
  const std::string text = Get(metrics_->port());
  EXPECT_THAT(text, HasSubstr("# TYPE vllm:prompt_tokens_total counter"));
  EXPECT_THAT(text, HasSubstr(Line("vllm:prompt_tokens_total", "12")));
  EXPECT_THAT(text, HasSubstr(Line("vllm:generation_tokens_total", "3")));
  const auto success = [&](const char* reason, const char* count) {
    return Line("vllm:request_success_total", count,
                std::string(",finished_reason=\"") + reason + "\"");
  };
  EXPECT_THAT(text, HasSubstr(success("length", "1")));
  EXPECT_THAT(text, HasSubstr(success("abort", "1")));
  EXPECT_THAT(text, HasSubstr(success("stop", "0")));
  EXPECT_THAT(text, HasSubstr("# TYPE vllm:time_to_first_token_seconds histogram"));
  const auto bucket = [&](const char* name, const char* bound, const char* count) {
    return Line(std::string(name) + "_bucket", count, std::string(",le=\"") + bound + "\"");
  };
  EXPECT_THAT(text, HasSubstr(bucket("vllm:time_to_first_token_seconds", "0.04", "0")));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:time_to_first_token_seconds", "0.06", "1")));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:inter_token_latency_seconds", "0.025", "1")));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:inter_token_latency_seconds", "+Inf", "2")));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:e2e_request_latency_seconds", "1.5", "2")));
  // 1, 2, 5, ... up to the longest request.
  EXPECT_THAT(text, HasSubstr(bucket("vllm:request_prompt_tokens", "20", "2")));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:request_prompt_tokens", "100", "2")));
  EXPECT_THAT(text, Not(HasSubstr("vllm:request_prompt_tokens_bucket{engine=\"0\","
                                  "model_name=\"m\",le=\"200\"}")));
}

TEST_F(MetricsTest, ReadsGaugesWhenAsked) {
  snapshot_.engine.requests_running = 3;
  snapshot_.engine.requests_waiting = 2;
  snapshot_.engine.kv_blocks_total = 8;
  snapshot_.engine.kv_blocks_free = 6;
  snapshot_.engine.requests_preempted_total = 4;
  snapshot_.engine.selection.counts.attended_tokens_total = 20;
  snapshot_.engine.selection.counts.context_tokens_total = 300;
  snapshot_.engine.selection.measures.filters = {{2, 1.5, 0.875}};
  snapshot_.heartbeat_ages_s = {{1, 0.5}};
  Get(metrics_->port());
  snapshot_.engine.requests_preempted_total = 5;
  const std::string text = Get(metrics_->port());
  EXPECT_THAT(text, HasSubstr(Line("vllm:num_requests_running", "3")));
  EXPECT_THAT(text, HasSubstr(Line("vllm:num_requests_waiting", "2")));
  EXPECT_THAT(text, HasSubstr(Line("vllm:kv_cache_usage_perc", "0.25")));
  EXPECT_THAT(text, HasSubstr(Line("vllm:num_preemptions_total", "5")));
  EXPECT_THAT(text, HasSubstr(Line("tamis:selection_attended_tokens_total", "20")));
  EXPECT_THAT(text, HasSubstr(Line("tamis:selection_context_tokens_total", "300")));
  EXPECT_THAT(text, HasSubstr(Line("tamis:selection_attention_mass", "0.875", ",layer=\"2\"")));
  EXPECT_THAT(text, HasSubstr(Line("tamis:rank_heartbeat_age_seconds", "0.5", ",rank=\"1\"")));
}

TEST_F(MetricsTest, APlanThatIsWaitedForTwiceCountsOnce) {
  const Group group = MakeSelfGroup();
  Heartbeat heartbeat(World{}, *group.control);
  VitalSigns signs("", std::chrono::seconds(10));
  StepWatch watch(heartbeat, signs, std::chrono::seconds(60));
  watch.SetMetrics(metrics_.get());
  StepPlan plan;
  plan.kind = PlanKind::kRun;
  plan.sequences.resize(1);
  plan.sequences[0].num_tokens = 5;
  const StepHooks hooks = watch.hooks();
  for (const int64_t step : {0, 1, 1, 2}) {
    plan.step_id = step;
    hooks.begin(plan);
    hooks.end();
  }
  EXPECT_THAT(Get(metrics_->port()), HasSubstr(Line("vllm:iteration_tokens_total_count", "3")));
}

TEST_F(MetricsTest, StepsCountByPhase) {
  StepPlan plan;
  EXPECT_EQ(ShapeOf(plan).num_tokens, 0) << "an idle plan runs nothing";
  plan.kind = PlanKind::kRun;
  plan.sequences.resize(2);
  plan.sequences[0].num_tokens = 1;
  plan.sequences[0].is_decode = true;
  plan.sequences[1].num_tokens = 30;
  metrics_->ObserveStep(ShapeOf(plan), 0.004);
  plan.sequences.pop_back();
  metrics_->ObserveStep(ShapeOf(plan), 0.004);
  metrics_->ObserveAllReduce(3e-6);
  const std::string text = Get(metrics_->port());
  EXPECT_THAT(text, HasSubstr(Line("tamis:step_time_seconds_count", "1", ",phase=\"prefill\"")));
  EXPECT_THAT(text, HasSubstr(Line("tamis:step_time_seconds_count", "1", ",phase=\"decode\"")));
  EXPECT_THAT(text, HasSubstr(Line("vllm:iteration_tokens_total_sum", "32")));
  EXPECT_THAT(text, HasSubstr(Line("tamis:all_reduce_seconds_count", "1")));
}

TEST_F(MetricsTest, ATakenPortIsAnError) {
  const auto second =
      Metrics::Start({"127.0.0.1", metrics_->port(), "m", 100}, [] { return MetricsSnapshot(); });
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tamis
