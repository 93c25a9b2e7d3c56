// SPDX-License-Identifier: Apache-2.0
#include "launcher/network_options.h"

#include <sys/resource.h>

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/host_checks.h"

namespace tamis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Problems(const NamedValues& flags) {
  NamedValues all = {{"model", "m"}};
  all.insert(all.end(), flags.begin(), flags.end());
  std::vector<std::string> problems;
  MakeServeConfig({}, all, &problems);
  return problems;
}

TEST(NetworkOptionsTest, PlainTextStaysOnThisHostUnlessTold) {
  EXPECT_THAT(Problems({}), IsEmpty());
  for (const char* host : {"localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"}) {
    EXPECT_THAT(Problems({{"host", host}}), IsEmpty()) << host;
  }
  for (const char* host : {"0.0.0.0", "::", "192.0.2.1", "example.org"}) {
    EXPECT_THAT(Problems({{"host", host}}), ElementsAre(HasSubstr("--host: " + std::string(host))));
    EXPECT_THAT(Problems({{"host", host}, {"insecure", "true"}}), IsEmpty());
    EXPECT_THAT(Problems({{"host", host}, {"ssl-certfile", "c"}, {"ssl-keyfile", "k"}}), IsEmpty());
  }
}

TEST(NetworkOptionsTest, CertificatesComeWithTheirKeys) {
  EXPECT_THAT(Problems({{"ssl-certfile", "c"}}), ElementsAre(HasSubstr("give both or neither")));
  EXPECT_THAT(Problems({{"ssl-keyfile", "k"}}), ElementsAre(HasSubstr("give both or neither")));
  EXPECT_THAT(Problems({{"ssl-ca-certs", "a"}}), ElementsAre(HasSubstr("--ssl-ca-certs: needs")));
}

TEST(HostChecksTest, TheBuildHasADigest) {
  const std::string digest = BuildDigest();
  EXPECT_EQ(digest.size(), 16u);
  EXPECT_EQ(digest, BuildDigest());
}

TEST(HostChecksTest, LittleLockedMemoryMattersOnlyWithInfiniBand) {
  std::string dir = std::filesystem::temp_directory_path() / "tamis_infiniband.XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &before), 0);
  rlimit small = before;
  small.rlim_cur = 64 << 10;
  ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &small), 0);
  EXPECT_EQ(LockedMemoryWarning(dir + "/absent"), "");
  EXPECT_EQ(LockedMemoryWarning(dir), "");
  std::filesystem::create_directory(dir + "/mlx5_0");
  EXPECT_THAT(LockedMemoryWarning(dir), HasSubstr("at most 64 KiB"));
  setrlimit(RLIMIT_MEMLOCK, &before);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace tamis
