// SPDX-License-Identifier: Apache-2.0
#include "launcher/front_end.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/server/grpc_server.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

// The environment may hold a key, so that it need not be on a disk.
absl::StatusOr<std::unique_ptr<ApiKeys>> OpenApiKeys(const ServeConfig& config) {
  std::vector<std::string> keys;
  const char* key = std::getenv("TAMIS_API_KEY");
  if (key != nullptr && *key != '\0') keys.emplace_back(key);
  return ApiKeys::Open(keys, config.server.api_key_file);
}

// 0, or the errno of the call that failed. The socket is closed again.
int TryToListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, address.ai_socktype, address.ai_protocol);
  if (fd < 0) return errno;
  // As servers do; connections of an earlier one that are not quite over do not matter.
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  int error = 0;
  if (bind(fd, address.ai_addr, address.ai_addrlen) != 0 || listen(fd, 1) != 0) error = errno;
  close(fd);
  return error;
}

}  // namespace

absl::Status CheckCanListen(const std::string& flag, const std::string& host, int port) {
  std::string name = host;
  if (name.size() > 2 && name.front() == '[' && name.back() == ']') {
    name = name.substr(1, name.size() - 2);
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(name.c_str(), absl::StrCat(port).c_str(), &hints, &found);
  if (code != 0) {
    return absl::UnavailableError(
        absl::StrCat(flag, ": cannot listen on ", AddressOf(host, port), ": ", gai_strerror(code)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  // A name may have several addresses; one is enough.
  int error = 0;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    error = TryToListen(*address);
    if (error == 0) return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat(flag, ": cannot listen on ", AddressOf(host, port), ": ", std::strerror(error)));
}

TlsFiles TlsFilesOf(const ServeConfig& config) {
  TlsFiles files;
  files.certificate = config.server.ssl_certfile;
  files.key = config.server.ssl_keyfile;
  files.client_ca = config.server.ssl_ca_certs;
  return files;
}

const std::string& MetricsHost(const ServeConfig& config) {
  return config.server.metrics_host.empty() ? config.server.host : config.server.metrics_host;
}

absl::StatusOr<FrontEnd> OpenFrontEnd(const ServeConfig& config) {
  const ServeConfig::Server& server = config.server;
  FrontEnd front;
  TAMIS_ASSIGN_OR_RETURN(front.keys, OpenApiKeys(config));
  TAMIS_RETURN_IF_ERROR(MakeServerCredentials(TlsFilesOf(config)).status());
  TAMIS_RETURN_IF_ERROR(CheckCanListen("--port", server.host, static_cast<int>(server.port)));
  if (server.metrics_port != 0) {
    TAMIS_RETURN_IF_ERROR(CheckCanListen("--metrics-port", MetricsHost(config),
                                         static_cast<int>(server.metrics_port)));
    if (server.metrics_port == server.port && MetricsHost(config) == server.host) {
      return absl::InvalidArgumentError(
          absl::StrCat("--metrics-port: ", server.metrics_port, "; allowed is any but --port"));
    }
  }
  TAMIS_ASSIGN_OR_RETURN(front.tokenizer, Tokenizer::Open(config.model.path));
  return front;
}

}  // namespace tamis
