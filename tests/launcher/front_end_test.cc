// SPDX-License-Identifier: Apache-2.0
// What is wrong with the front end is told by flag or file, before anything is loaded.
#include "launcher/front_end.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_file.h"

namespace tamis {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Listens on a port of 127.0.0.1 for as long as it lives.
class TakenPort {
 public:
  TakenPort() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(fd_, generic, size), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    EXPECT_EQ(getsockname(fd_, generic, &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~TakenPort() { close(fd_); }
  int port() const { return port_; }

 private:
  int fd_;
  int port_ = 0;
};

TEST(CheckCanListen, AnyFreePortOfAnAddressOfThisMachine) {
  for (const char* host : {"127.0.0.1", "0.0.0.0", "localhost"}) {
    EXPECT_TRUE(CheckCanListen("--port", host, 0).ok()) << host;
  }
  int free_port = 0;
  {
    const TakenPort taken;
    free_port = taken.port();
  }
  EXPECT_TRUE(CheckCanListen("--port", "127.0.0.1", free_port).ok());
}

TEST(CheckCanListen, NamesTheFlagTheAddressAndWhy) {
  const TakenPort taken;
  const absl::Status in_use = CheckCanListen("--metrics-port", "127.0.0.1", taken.port());
  EXPECT_TRUE(absl::IsUnavailable(in_use));
  EXPECT_EQ(in_use.message(), absl::StrCat("--metrics-port: cannot listen on 127.0.0.1:",
                                           taken.port(), ": Address already in use"));
  // TEST-NET-1, which no machine has (RFC 5737).
  EXPECT_THAT(std::string(CheckCanListen("--port", "192.0.2.1", 0).message()),
              StartsWith("--port: cannot listen on 192.0.2.1:0: Cannot assign"));
  EXPECT_THAT(std::string(CheckCanListen("--port", "no.such.host.invalid", 0).message()),
              StartsWith("--port: cannot listen on no.such.host.invalid:0: "));
}

ServeConfig SomePorts() {
  ServeConfig config;
  config.model.path = "/nowhere.gguf";
  config.server.host = "127.0.0.1";
  config.server.port = 0;
  return config;
}

TEST(OpenFrontEnd, RefusesPortsCertificatesKeysAndTokenizersByName) {
  EXPECT_THAT(std::string(OpenFrontEnd(SomePorts()).status().message()),
              HasSubstr("/nowhere.gguf"));

  const TakenPort taken;
  ServeConfig config = SomePorts();
  config.server.port = taken.port();
  EXPECT_THAT(std::string(OpenFrontEnd(config).status().message()),
              StartsWith("--port: cannot listen"));
  config = SomePorts();
  config.server.metrics_port = taken.port();
  EXPECT_THAT(std::string(OpenFrontEnd(config).status().message()),
              StartsWith("--metrics-port: cannot listen"));
  config.server.metrics_host = "192.0.2.1";
  EXPECT_THAT(std::string(OpenFrontEnd(config).status().message()), HasSubstr("192.0.2.1"));

  config = SomePorts();
  config.server.ssl_certfile = config.server.ssl_keyfile = WriteTempFile("not.pem", "nonsense");
  EXPECT_THAT(std::string(OpenFrontEnd(config).status().message()), HasSubstr("not.pem"));
  config = SomePorts();
  config.server.api_key_file = WriteTempFile("no_keys", "# none\n");
  EXPECT_THAT(std::string(OpenFrontEnd(config).status().message()), HasSubstr("no_keys"));
}

TEST(OpenFrontEnd, RefusesOnePortForBoth) {
  int port = 0;
  {
    const TakenPort taken;
    port = taken.port();
  }
  ServeConfig config = SomePorts();
  config.server.port = config.server.metrics_port = port;
  EXPECT_EQ(OpenFrontEnd(config).status().message(),
            absl::StrCat("--metrics-port: ", port, "; allowed is any but --port"));
}

}  // namespace
}  // namespace tamis
