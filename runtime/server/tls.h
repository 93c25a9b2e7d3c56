// SPDX-License-Identifier: Apache-2.0
// The server's certificates. Files are read again when they change, so a renewed certificate is
// used by the next connection without a restart.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"

namespace tamis {

// PEM files. Without a certificate the server speaks plain text.
struct TlsFiles {
  std::string certificate;       // the chain, the server's own first
  std::string key;               // private, not encrypted
  std::string client_ca;         // when given, clients must show a certificate that it signed
  unsigned reload_seconds = 10;  // how often the files are looked at

  bool enabled() const { return !certificate.empty(); }
};

// Plain text, or TLS from the files. INVALID_ARGUMENT names the file that cannot be read, holds no
// PEM, or a key that does not belong to the certificate. A later change that is broken keeps what
// was read last.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsFiles& files);

}  // namespace tamis
