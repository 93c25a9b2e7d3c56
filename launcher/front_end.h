// SPDX-License-Identifier: Apache-2.0
// What rank 0's front end needs besides the loaded model. It is opened before the weights are read:
// a mistake in it is then told in a second, not after minutes.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/serve_config.h"
#include "runtime/server/api_keys.h"
#include "runtime/server/tls.h"
#include "runtime/tokenizer/tokenizer.h"

namespace tamis {

struct FrontEnd {
  std::unique_ptr<ApiKeys> keys;  // those of --api-key-file and of the environment's TAMIS_API_KEY
  std::unique_ptr<Tokenizer> tokenizer;
};

// Opens both, reads the certificates and tries the ports. The first error, which names the flag or
// the file.
absl::StatusOr<FrontEnd> OpenFrontEnd(const ServeConfig& config);

TlsFiles TlsFilesOf(const ServeConfig& config);
// Where metrics listen.
const std::string& MetricsHost(const ServeConfig& config);

// Whether a server could listen on host:port now; port 0 is any free one. UNAVAILABLE if the port
// is taken or the address not this machine's; `flag` is the one that gave the port.
absl::Status CheckCanListen(const std::string& flag, const std::string& host, int port);

}  // namespace tamis
