// SPDX-License-Identifier: Apache-2.0
// One stream, read synchronously; a signal cancels it from its own thread.
#include "launcher/client.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <iostream>

#include "absl/status/status.h"
#include "launcher/signals.h"
#include "nlohmann/json.hpp"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

double MillisSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The value below which `part` of the samples lie (nearest rank); 0 without samples.
double Percentile(std::vector<double> samples, double part) {
  if (samples.empty()) return 0;
  const double rank = std::ceil(part * static_cast<double>(samples.size()));
  const size_t idx = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  std::nth_element(samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(idx),
                   samples.end());
  return samples[idx];
}

const char* Name(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP: return "stop";
    case v1::FINISH_REASON_LENGTH: return "length";
    default: return "abort";
  }
}

nlohmann::ordered_json LogprobsJson(const std::vector<v1::Logprobs>& logprobs) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const v1::Logprobs& one : logprobs) {
    nlohmann::ordered_json top = nlohmann::ordered_json::array();
    for (const v1::TopLogprob& entry : one.top()) {
      top.push_back({{"token_id", entry.token_id()}, {"logprob", entry.logprob()}});
    }
    list.push_back({{"token_id", one.token_id()}, {"logprob", one.logprob()}, {"top", top}});
  }
  return list;
}

// Takes one message into the answer.
void Collect(const v1::GenerateResponse& message, Clock::time_point start,
             Clock::time_point* last_token, Answer* answer) {
  const int count = message.token_ids_size();
  if (count > 0) {
    const Clock::time_point now = Clock::now();
    if (answer->token_ids.empty()) {
      answer->ttft_ms = MillisSince(start);
    } else {
      const double gap_ms = std::chrono::duration<double, std::milli>(now - *last_token).count();
      answer->gaps_ms.insert(answer->gaps_ms.end(), static_cast<size_t>(count), gap_ms / count);
    }
    *last_token = now;
  }
  answer->text += message.text();
  answer->token_ids.insert(answer->token_ids.end(), message.token_ids().begin(),
                           message.token_ids().end());
  answer->logprobs.insert(answer->logprobs.end(), message.logprobs().begin(),
                          message.logprobs().end());
  if (message.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
    answer->finish_reason = message.finish_reason();
    answer->usage = message.usage();
  }
}

}  // namespace

v1::SamplingOptions ToOptions(const SamplingFlags& flags) {
  v1::SamplingOptions options;
  if (flags.max_tokens) options.set_max_tokens(*flags.max_tokens);
  if (flags.temperature) options.set_temperature(*flags.temperature);
  if (flags.top_k) options.set_top_k(*flags.top_k);
  if (flags.top_p) options.set_top_p(*flags.top_p);
  if (flags.min_p) options.set_min_p(*flags.min_p);
  if (flags.seed) options.set_seed(*flags.seed);
  for (const std::string& stop : flags.stop) options.add_stop(stop);
  for (const int32_t id : flags.stop_token_ids) options.add_stop_token_ids(id);
  options.set_ignore_eos(flags.ignore_eos);
  if (flags.logprobs) options.set_logprobs(*flags.logprobs);
  return options;
}

v1::SelectionOptions ToOptions(const SelectionFlags& flags) {
  v1::SelectionOptions options;
  if (flags.mode == "auto") options.set_mode(v1::SELECTION_MODE_AUTO);
  if (flags.mode == "on") options.set_mode(v1::SELECTION_MODE_ON);
  if (flags.mode == "off") options.set_mode(v1::SELECTION_MODE_OFF);
  if (flags.num_selected_tokens) options.set_num_selected_tokens(*flags.num_selected_tokens);
  if (flags.selected_fraction) options.set_selected_fraction(*flags.selected_fraction);
  return options;
}

Answer Ask(const Connection& server, const v1::GenerateRequest& request,
           std::optional<double> timeout_s,
           const std::function<void(const std::string&)>& on_text) {
  grpc::ClientContext context;
  if (timeout_s) {
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::microseconds(static_cast<int64_t>(*timeout_s * 1e6)));
  }
  const SignalThread signals([&](int) { context.TryCancel(); });
  const Clock::time_point start = Clock::now();
  Clock::time_point last_token = start;
  Answer answer;
  v1::GenerateResponse message;
  server.Authorize(&context);
  const auto stub = v1::Inference::NewStub(server.channel);
  const auto reader = stub->Generate(&context, request);
  while (reader->Read(&message)) {
    Collect(message, start, &last_token, &answer);
    if (!message.text().empty()) on_text(message.text());
  }
  answer.status = reader->Finish();
  answer.e2e_ms = MillisSince(start);
  return answer;
}

std::string ToJson(const Answer& answer) {
  // The decoding rate: without the prompt's time, where there is more than one token.
  const double decode_ms = answer.e2e_ms - answer.ttft_ms;
  const auto tokens = static_cast<double>(answer.token_ids.size());
  const double tokens_per_second = tokens > 1 && decode_ms > 0 ? (tokens - 1) * 1000 / decode_ms
                                   : answer.e2e_ms > 0         ? tokens * 1000 / answer.e2e_ms
                                                               : 0;
  nlohmann::ordered_json json = {{"text", answer.text},
                                 {"token_ids", answer.token_ids},
                                 {"finish_reason", Name(answer.finish_reason)},
                                 {"usage",
                                  {{"prompt_tokens", answer.usage.prompt_tokens()},
                                   {"completion_tokens", answer.usage.completion_tokens()}}},
                                 {"timing",
                                  {{"ttft_ms", answer.ttft_ms},
                                   {"itl_ms_p50", Percentile(answer.gaps_ms, 0.50)},
                                   {"itl_ms_p99", Percentile(answer.gaps_ms, 0.99)},
                                   {"e2e_ms", answer.e2e_ms},
                                   {"tokens_per_second", tokens_per_second}}}};
  if (!answer.logprobs.empty()) json["logprobs"] = LogprobsJson(answer.logprobs);
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void PrintError(const grpc::Status& status) {
  std::string message = status.error_message();
  std::replace(message.begin(), message.end(), '\n', ' ');
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  std::cerr << "tamis: " << absl::StatusCodeToString(code) << ": " << message << std::endl;
}

}  // namespace tamis
