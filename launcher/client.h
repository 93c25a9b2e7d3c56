// SPDX-License-Identifier: Apache-2.0
// The client side of the program: `tamis generate`, `tamis chat` and `tamis health`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "proto/tamis.grpc.pb.h"

namespace tamis {

// As given on the command line; what is absent is left to the server's defaults.
struct SamplingFlags {
  std::optional<int32_t> max_tokens;
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  std::optional<int32_t> logprobs;
};

struct SelectionFlags {
  std::string mode;  // auto, on, off, or empty
  std::optional<int32_t> num_selected_tokens;
  std::optional<double> selected_fraction;
};

// How to reach a server.
struct ChannelFlags {
  std::string target = "127.0.0.1:50051";
  bool ssl = false;          // TLS, the server checked against the system's CAs
  std::string ssl_ca_certs;  // PEM file of the CA to check it against instead; implies ssl
  std::string ssl_certfile;  // PEM files of this client's own certificate
  std::string ssl_keyfile;
  std::string api_key_file;  // its first line; else TAMIS_API_KEY in the environment
};

struct ClientFlags {
  ChannelFlags channel;
  std::optional<double> timeout_s;  // of the whole answer
  SamplingFlags sampling;
  SelectionFlags selection;
};

struct GenerateFlags {
  ClientFlags client;
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  std::vector<int32_t> token_ids;
  bool json = false;
};

struct ChatFlags {
  ClientFlags client;
  std::optional<std::string> system;
  std::optional<std::string> prompt;  // one turn, then the end
};

// What came back over one stream, and when.
struct Answer {
  grpc::Status status;
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<v1::Logprobs> logprobs;
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  v1::Usage usage;
  double ttft_ms = 0;
  double e2e_ms = 0;
  std::vector<double> gaps_ms;  // between tokens; those of one message share its gap
};

// A server that can be asked.
struct Connection {
  std::shared_ptr<grpc::Channel> channel;
  std::string api_key;  // "" = none
  // Adds the key to a call.
  void Authorize(grpc::ClientContext* context) const;
};

// A channel that notices within seconds when the server's host or process is frozen.
// INVALID_ARGUMENT names a file that cannot be read or flags that do not go together.
absl::StatusOr<Connection> Connect(const ChannelFlags& flags);

v1::SamplingOptions ToOptions(const SamplingFlags& flags);
v1::SelectionOptions ToOptions(const SelectionFlags& flags);

// Sends the request and calls `on_text` for every piece of text. SIGINT and SIGTERM, which
// CatchSignals must have caught, cancel the call.
Answer Ask(const Connection& server, const v1::GenerateRequest& request,
           std::optional<double> timeout_s, const std::function<void(const std::string&)>& on_text);

// The JSON object of `generate --json`, on one line.
std::string ToJson(const Answer& answer);

// Prints "tamis: STATUS: message" on one line of stderr.
void PrintError(const grpc::Status& status);

struct HealthFlags {
  ChannelFlags channel;
  std::string service;  // "" = the server as a whole
  double timeout_s = 5;
};

// All return the exit code.
int RunGenerate(const GenerateFlags& flags);
int RunChat(const ChatFlags& flags);
// Prints the status of grpc.health.v1; 0 only for SERVING.
int RunHealth(const HealthFlags& flags);

}  // namespace tamis
