// SPDX-License-Identifier: Apache-2.0
// Counters and histograms are fed as things happen; gauges, and counters that the engine keeps
// itself, are read when Prometheus asks.
#include "launcher/metrics.h"

#include <algorithm>
#include <exception>

#include "absl/strings/str_cat.h"
#include "prometheus/counter.h"
#include "prometheus/exposer.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "runtime/server/grpc_server.h"

namespace tamis {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

const Buckets kFirstTokenSeconds = {0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                    0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                    20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};
const Buckets kNextTokenSeconds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                   0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
const Buckets kRequestSeconds = {0.3,  0.5,   0.8,   1.0,   1.5,   2.0,    2.5,
                                 5.0,  10.0,  15.0,  20.0,  30.0,  40.0,   50.0,
                                 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
const Buckets kStepTokens = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const Buckets kStepSeconds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
                              0.2,   0.5,   1.0,   2.0,  5.0,  10.0, 60.0};
const Buckets kAllReduceSeconds = {1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4,
                                   5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1};

// 1, 2, 5, 10, 20, 50, ... up to `max`.
Buckets OneTwoFive(int64_t max) {
  Buckets buckets;
  for (int64_t power = 1; power <= max; power *= 10) {
    for (const int64_t step : {1, 2, 5}) {
      if (step * power <= max) buckets.push_back(static_cast<double>(step * power));
    }
  }
  return buckets;
}

// Makes every metric with the labels that all of them carry.
struct Factory {
  prometheus::Registry& registry;
  prometheus::Labels labels;

  Counter& MakeCounter(const char* name, const char* help, const prometheus::Labels& more = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Labels(labels).Register(registry).Add(
        more);
  }
  prometheus::Family<Gauge>& MakeGauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Labels(labels).Register(registry);
  }
  Gauge& MakeGauge(const char* name, const char* help) { return MakeGauges(name, help).Add({}); }
  Histogram& MakeHistogram(const char* name, const char* help, const Buckets& buckets,
                           const prometheus::Labels& more = {}) {
    return prometheus::BuildHistogram().Name(name).Help(help).Labels(labels).Register(registry).Add(
        more, buckets);
  }
};

}  // namespace

StepShape ShapeOf(const StepPlan& plan) {
  StepShape shape;
  if (plan.kind != PlanKind::kRun) return shape;
  for (const PlanSequence& part : plan.sequences) {
    shape.num_tokens += part.num_tokens;
    shape.prefills |= !part.is_decode;
  }
  return shape;
}

struct Metrics::State final : prometheus::Collectable {
  State(const MetricsOptions& options, std::function<MetricsSnapshot()> snapshot_in)
      : make{registry, {{"model_name", options.model_name}, {"engine", "0"}}},
        token_buckets(OneTwoFive(options.max_model_len)),
        snapshot(std::move(snapshot_in)) {}

  // Called by the listener, one call at a time per endpoint.
  std::vector<prometheus::MetricFamily> Collect() const override {
    const std::lock_guard<std::mutex> lock(collect_mutex);
    const MetricsSnapshot now = snapshot();
    const EngineStats& engine = now.engine;
    running.Set(static_cast<double>(engine.requests_running));
    waiting.Set(static_cast<double>(engine.requests_waiting));
    const double total = static_cast<double>(std::max<int64_t>(engine.kv_blocks_total, 1));
    cache_usage.Set(static_cast<double>(engine.kv_blocks_total - engine.kv_blocks_free) / total);
    Raise(preemptions, engine.requests_preempted_total);
    Raise(attended_tokens, engine.selection.counts.attended_tokens_total);
    Raise(context_tokens, engine.selection.counts.context_tokens_total);
    for (const FilterMass& filter : engine.selection.measures.filters) {
      attention_mass.Add({{"layer", std::to_string(filter.layer_idx)}}).Set(filter.last);
    }
    for (const auto& [rank, age_s] : now.heartbeat_ages_s) {
      heartbeat_ages.Add({{"rank", std::to_string(rank)}}).Set(age_s);
    }
    return registry.Collect();
  }

  // To a total that was counted elsewhere.
  static void Raise(Counter& counter, int64_t total) {
    const double more = static_cast<double>(total) - counter.Value();
    if (more > 0) counter.Increment(more);
  }

  Counter& Success(FinishReason reason) {
    switch (reason) {
      case FinishReason::kStop: return success_stop;
      case FinishReason::kLength: return success_length;
      default: return success_abort;
    }
  }

  prometheus::Registry registry;
  Factory make;
  const Buckets token_buckets;
  const std::function<MetricsSnapshot()> snapshot;
  mutable std::mutex collect_mutex;

  Gauge& running =
      make.MakeGauge("vllm:num_requests_running", "Number of requests in model execution batches.");
  Gauge& waiting =
      make.MakeGauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.");
  Gauge& cache_usage =
      make.MakeGauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.");
  Counter& preemptions =
      make.MakeCounter("vllm:num_preemptions_total", "Cumulative number of preemptions.");
  Counter& attended_tokens =
      make.MakeCounter("tamis:selection_attended_tokens_total",
                       "Tokens that sparse layers attended to, over the tokens decoded sparsely.");
  Counter& context_tokens =
      make.MakeCounter("tamis:selection_context_tokens_total",
                       "Tokens that they would have attended to if decoded densely.");
  prometheus::Family<Gauge>& attention_mass =
      make.MakeGauges("tamis:selection_attention_mass",
                      "Part of a filter layer's attention that what it selected holds, mean over "
                      "heads, in the last step of which --selection-mass-interval measured it.");
  Counter& prompt_tokens =
      make.MakeCounter("vllm:prompt_tokens_total", "Number of prompt tokens processed.");
  Counter& generation_tokens =
      make.MakeCounter("vllm:generation_tokens_total", "Number of generated tokens.");
  static constexpr const char* kSuccess = "vllm:request_success_total";
  static constexpr const char* kSuccessHelp = "Requests that ended, by reason.";
  Counter& success_stop = make.MakeCounter(kSuccess, kSuccessHelp, {{"finished_reason", "stop"}});
  Counter& success_length =
      make.MakeCounter(kSuccess, kSuccessHelp, {{"finished_reason", "length"}});
  Counter& success_abort = make.MakeCounter(kSuccess, kSuccessHelp, {{"finished_reason", "abort"}});
  Histogram& first_token =
      make.MakeHistogram("vllm:time_to_first_token_seconds",
                         "Time from a request's arrival to its first token.", kFirstTokenSeconds);
  Histogram& next_token =
      make.MakeHistogram("vllm:inter_token_latency_seconds",
                         "Time between two tokens of a request.", kNextTokenSeconds);
  Histogram& e2e = make.MakeHistogram("vllm:e2e_request_latency_seconds",
                                      "Time from a request's arrival to its end.", kRequestSeconds);
  Histogram& request_prompt = make.MakeHistogram("vllm:request_prompt_tokens",
                                                 "Prompt tokens of a request.", token_buckets);
  Histogram& request_generation = make.MakeHistogram(
      "vllm:request_generation_tokens", "Generated tokens of a request.", token_buckets);
  Histogram& request_max_tokens = make.MakeHistogram("vllm:request_params_max_tokens",
                                                     "max_tokens of a request.", token_buckets);
  Histogram& step_tokens =
      make.MakeHistogram("vllm:iteration_tokens_total", "Tokens in one step.", kStepTokens);

  static constexpr const char* kStep = "tamis:step_time_seconds";
  static constexpr const char* kStepHelp =
      "Time of a step: decode only, or with chunks of prefill in it.";
  Histogram& decode_step =
      make.MakeHistogram(kStep, kStepHelp, kStepSeconds, {{"phase", "decode"}});
  Histogram& prefill_step =
      make.MakeHistogram(kStep, kStepHelp, kStepSeconds, {{"phase", "prefill"}});
  Histogram& all_reduce = make.MakeHistogram(
      "tamis:all_reduce_seconds",
      "Time of an all-reduce on host transports, waiting for the other ranks included.",
      kAllReduceSeconds);
  prometheus::Family<Gauge>& heartbeat_ages = make.MakeGauges(
      "tamis:rank_heartbeat_age_seconds", "Time since another rank of this host last showed life.");

  std::unique_ptr<prometheus::Exposer> exposer;
};

Metrics::Metrics(std::shared_ptr<State> state) : state_(std::move(state)) {}

Metrics::~Metrics() {
  // The listener goes first: it calls Collect.
  state_->exposer.reset();
}

absl::StatusOr<std::unique_ptr<Metrics>> Metrics::Start(const MetricsOptions& options,
                                                        std::function<MetricsSnapshot()> snapshot) {
  auto metrics =
      std::unique_ptr<Metrics>(new Metrics(std::make_shared<State>(options, std::move(snapshot))));
  State& state = *metrics->state_;
  // The listener resolves no names.
  const std::string address =
      AddressOf(options.host == "localhost" ? "127.0.0.1" : options.host, options.port);
  try {
    state.exposer = std::make_unique<prometheus::Exposer>(address, 2);
  } catch (const std::exception&) {
    return absl::UnavailableError(absl::StrCat("--metrics-port: cannot listen on ", address,
                                               ": is the port taken or the address not ours?"));
  }
  state.exposer->RegisterCollectable(metrics->state_);
  return metrics;
}

int Metrics::port() const { return state_->exposer->GetListeningPorts().front(); }

RequestObserver Metrics::observer() {
  State* state = state_.get();
  RequestObserver observer;
  observer.first_token = [state](double seconds, int64_t prompt_tokens) {
    state->first_token.Observe(seconds);
    state->prompt_tokens.Increment(static_cast<double>(prompt_tokens));
    state->generation_tokens.Increment();
  };
  observer.next_token = [state](double seconds) {
    state->next_token.Observe(seconds);
    state->generation_tokens.Increment();
  };
  observer.done = [state](const RequestSummary& summary) {
    state->Success(summary.finish).Increment();
    state->e2e.Observe(summary.e2e_seconds);
    state->request_prompt.Observe(static_cast<double>(summary.prompt_tokens));
    state->request_generation.Observe(static_cast<double>(summary.generation_tokens));
    state->request_max_tokens.Observe(static_cast<double>(summary.max_tokens));
  };
  return observer;
}

void Metrics::ObserveStep(const StepShape& shape, double seconds) {
  (shape.prefills ? state_->prefill_step : state_->decode_step).Observe(seconds);
  state_->step_tokens.Observe(static_cast<double>(shape.num_tokens));
}

void Metrics::ObserveAllReduce(double seconds) { state_->all_reduce.Observe(seconds); }

}  // namespace tamis
