// SPDX-License-Identifier: Apache-2.0
// SO_REUSEPORT is gRPC's default and would let two servers share a port silently; it is off.
#include "runtime/server/grpc_server.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

constexpr int kMessageBytesMax = 64 << 20;  // a prompt of a million tokens fits several times
constexpr int kPingIntervalMinMs = 1000;    // how often a client may ask whether we live
// A client whose host is gone is noticed, and its request's blocks are free, within 10 s.
constexpr int kPingClientsMs = 6000;
constexpr int kPingTimeoutMs = 3000;

}  // namespace

std::string AddressOf(const std::string& host, int port) {
  const bool bare_ipv6 = absl::StrContains(host, ":") && !absl::StartsWith(host, "[");
  return bare_ipv6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(GenerateService* service,
                                                              const std::string& host, int port,
                                                              const TlsFiles& tls) {
  TAMIS_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                         MakeServerCredentials(tls));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  const std::string address = AddressOf(host, port);
  std::unique_ptr<GrpcServer> result(new GrpcServer);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, credentials, &result->port_);
  builder.RegisterService(service);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  // A message of a megabyte may inflate to gigabytes before its size is looked at.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kPingIntervalMinMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kPingClientsMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  result->server_ = builder.BuildAndStart();
  if (result->server_ == nullptr || result->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, ": is the port taken or the address not ours?"));
  }
  result->SetServing(false);
  result->server_->GetHealthCheckService()->SetServingStatus("startup", false);
  result->SetLive(true);
  return result;
}

GrpcServer::~GrpcServer() { Shutdown(std::chrono::milliseconds(0)); }

void GrpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  health->SetServingStatus(v1::Inference::service_full_name(), serving);
  health->SetServingStatus("readiness", serving);
  if (serving) health->SetServingStatus("startup", true);
}

void GrpcServer::SetLive(bool live) {
  server_->GetHealthCheckService()->SetServingStatus("liveness", live);
}

void GrpcServer::Shutdown(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_ = nullptr;
}

}  // namespace tamis
