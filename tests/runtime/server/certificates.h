// SPDX-License-Identifier: Apache-2.0
// Certificates made on the spot, so that none can run out.
#pragma once

#include <string>

namespace tamis {

struct Pem {
  std::string certificate;
  std::string key;
};

// A CA of that name.
Pem MakeCa(const std::string& name);

// A certificate for localhost that `ca` signed. `serial` tells two of them apart.
Pem MakeCertificate(const Pem& ca, long serial);

// The serial number that a server on 127.0.0.1:port shows, or -1 when there is no handshake.
// `client` (may be null) is the certificate that is shown to it.
long SerialOf(int port, const Pem* client = nullptr);

}  // namespace tamis
