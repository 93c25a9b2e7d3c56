// SPDX-License-Identifier: Apache-2.0
// How clients reach a server: keepalive, TLS, the key.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "launcher/client.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& flag, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, ": cannot be read or empty"));
  }
  return text.str();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const ChannelFlags& flags) {
  const bool own = !flags.ssl_certfile.empty() || !flags.ssl_keyfile.empty();
  if (!flags.ssl && flags.ssl_ca_certs.empty() && !own) return grpc::InsecureChannelCredentials();
  if (flags.ssl_certfile.empty() != flags.ssl_keyfile.empty()) {
    return absl::InvalidArgumentError("--ssl-certfile and --ssl-keyfile: give both or neither");
  }
  grpc::SslCredentialsOptions options;
  if (!flags.ssl_ca_certs.empty()) {
    TAMIS_ASSIGN_OR_RETURN(options.pem_root_certs, ReadFile("--ssl-ca-certs", flags.ssl_ca_certs));
  }
  if (own) {
    TAMIS_ASSIGN_OR_RETURN(options.pem_cert_chain, ReadFile("--ssl-certfile", flags.ssl_certfile));
    TAMIS_ASSIGN_OR_RETURN(options.pem_private_key, ReadFile("--ssl-keyfile", flags.ssl_keyfile));
  }
  return grpc::SslCredentials(options);
}

absl::StatusOr<std::string> ApiKey(const ChannelFlags& flags) {
  if (flags.api_key_file.empty()) {
    const char* key = std::getenv("TAMIS_API_KEY");
    return key == nullptr ? std::string() : std::string(key);
  }
  TAMIS_ASSIGN_OR_RETURN(const std::string text, ReadFile("--api-key-file", flags.api_key_file));
  return text.substr(0, text.find_first_of("\r\n"));
}

}  // namespace

void Connection::Authorize(grpc::ClientContext* context) const {
  if (!api_key.empty()) context->AddMetadata("authorization", absl::StrCat("Bearer ", api_key));
}

absl::StatusOr<Connection> Connect(const ChannelFlags& flags) {
  Connection server;
  TAMIS_ASSIGN_OR_RETURN(server.api_key, ApiKey(flags));
  TAMIS_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                         Credentials(flags));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(64 << 20);
  arguments.SetMaxSendMessageSize(64 << 20);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  server.channel = grpc::CreateCustomChannel(flags.target, credentials, arguments);
  return server;
}

}  // namespace tamis
