// SPDX-License-Identifier: Apache-2.0
// The listening end: the service with health and reflection on one port.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/server.h"
#include "runtime/server/generate_service.h"
#include "runtime/server/tls.h"

namespace tamis {

// "host:port"; a bare IPv6 address gets the brackets that it needs before a port.
std::string AddressOf(const std::string& host, int port);

// May be used from any thread.
class GrpcServer {
 public:
  // Listens on host:port (port 0: any free one). Health says NOT_SERVING until SetServing(true).
  // `service` must outlive the server. UNAVAILABLE if the address cannot be had, INVALID_ARGUMENT
  // for broken certificates.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(GenerateService* service,
                                                           const std::string& host, int port,
                                                           const TlsFiles& tls = {});
  ~GrpcServer();

  int port() const { return port_; }
  // For "", "tamis.v1.Inference" and "readiness". The first true also sets "startup", for good.
  void SetServing(bool serving);
  // For "liveness".
  void SetLive(bool live);
  // No new calls; those that run get until `grace` has passed, then are cancelled.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  GrpcServer() = default;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace tamis
