// SPDX-License-Identifier: Apache-2.0
#include "launcher/network_options.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "launcher/option_kinds.h"

namespace tamis {
namespace {

using Config = ServeConfig;

void AddTls(std::vector<ServeOption>* options) {
  options->push_back(Text("ssl-certfile",
                          "PEM file of the server's certificate chain (default: "
                          "none, plain text)",
                          [](Config& c) -> std::string& { return c.server.ssl_certfile; }));
  options->push_back(Text("ssl-keyfile", "PEM file of its private key, without a passphrase",
                          [](Config& c) -> std::string& { return c.server.ssl_keyfile; }));
  options->push_back(Text("ssl-ca-certs",
                          "PEM file of the CA whose certificates clients must show (default: none, "
                          "they need not show one)",
                          [](Config& c) -> std::string& { return c.server.ssl_ca_certs; }));
  options->push_back(Text("api-key-file",
                          "keys, one a line, of which a call must carry one as metadata "
                          "\"authorization: Bearer KEY\" (default: none; TAMIS_API_KEY in the "
                          "environment is one more)",
                          [](Config& c) -> std::string& { return c.server.api_key_file; }));
  options->push_back(Named<bool>(
      "insecure", "listen in plain text on an address that others reach (default false)",
      [](Config& c) -> bool& { return c.server.insecure; }, {{"true", true}, {"false", false}}));
  options->back().is_switch = true;
}

}  // namespace

void AddNetworkOptions(std::vector<ServeOption>* options) {
  options->push_back(Text("host", "address to listen on (default 127.0.0.1)",
                          [](Config& c) -> std::string& { return c.server.host; }));
  options->push_back(Number<int64_t>(
      "port", "port to listen on, 0 = any free one (default 50051)",
      [](Config& c) -> int64_t& { return c.server.port; }, 0, 65535));
  AddTls(options);
  options->push_back(Number<int64_t>(
      "metrics-port", "port of Prometheus metrics over HTTP at /metrics (default 0 = none)",
      [](Config& c) -> int64_t& { return c.server.metrics_port; }, 0, 65535));
  options->push_back(Text("metrics-host", "address of the metrics (default: --host)",
                          [](Config& c) -> std::string& { return c.server.metrics_host; }));
  options->push_back(Text("heartbeat-file",
                          "file that the first rank of each host renews every second while it "
                          "makes progress (default: none)",
                          [](Config& c) -> std::string& { return c.server.heartbeat_file; }));
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "[::1]" ||
         absl::StartsWith(host, "127.") || absl::StartsWith(host, "unix:");
}

void CheckNetworkOptions(const ServeConfig& config, std::vector<std::string>* problems) {
  const ServeConfig::Server& server = config.server;
  if (server.ssl_certfile.empty() != server.ssl_keyfile.empty()) {
    problems->push_back("--ssl-certfile and --ssl-keyfile: give both or neither");
  }
  if (!server.ssl_ca_certs.empty() && server.ssl_certfile.empty()) {
    problems->push_back("--ssl-ca-certs: needs --ssl-certfile and --ssl-keyfile");
  }
  if (!IsLoopback(server.host) && server.ssl_certfile.empty() && !server.insecure) {
    problems->push_back(absl::StrCat("--host: ", server.host,
                                     " is reached by others, in plain text; allowed are a loopback "
                                     "address, --ssl-certfile with --ssl-keyfile, or --insecure"));
  }
}

}  // namespace tamis
