// SPDX-License-Identifier: Apache-2.0
// `tamis health`: for probes that cannot speak gRPC with TLS themselves.
#include <iostream>

#include "launcher/client.h"
#include "proto/health.grpc.pb.h"

namespace tamis {

int RunHealth(const HealthFlags& flags) {
  const absl::StatusOr<Connection> server = Connect(flags.channel);
  if (!server.ok()) {
    std::cerr << "tamis: " << std::string(server.status().message()) << std::endl;
    return 1;
  }
  namespace health = grpc::health::v1;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(flags.timeout_s * 1000)));
  health::HealthCheckRequest request;
  request.set_service(flags.service);
  health::HealthCheckResponse response;
  const auto stub = health::Health::NewStub(server->channel);
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) {
    PrintError(status);
    return 1;
  }
  std::cout << health::HealthCheckResponse::ServingStatus_Name(response.status()) << std::endl;
  return response.status() == health::HealthCheckResponse::SERVING ? 0 : 1;
}

}  // namespace tamis
