// SPDX-License-Identifier: Apache-2.0
#include "launcher/host_checks.h"

#include <openssl/evp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tamis {
namespace {

// Registering the buffers of one NCCL communicator takes more than the usual 64 KiB to 8 MiB.
constexpr rlim_t kLockedBytesWanted = rlim_t{1} << 30;

}  // namespace

std::string BuildDigest() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  if (!file) return "unknown";
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  std::vector<char> piece(1 << 20);
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    EVP_DigestUpdate(context.get(), piece.data(), static_cast<size_t>(file.gcount()));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned length = 0;
  EVP_DigestFinal_ex(context.get(), digest.data(), &length);
  constexpr size_t kShown = 8;  // bytes: enough to tell builds apart
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), kShown));
}

uint64_t HostMemoryBytes(const std::string& cgroup_dir) {
  auto bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
               static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  // Version 2, then 1; without a limit they hold "max", or more than there is.
  for (const char* name : {"/memory.max", "/memory/memory.limit_in_bytes"}) {
    std::ifstream file(cgroup_dir + name);
    uint64_t limit = 0;
    if (file >> limit) bytes = std::min(bytes, limit);
  }
  return bytes;
}

std::string LockedMemoryWarning(const std::string& infiniband_dir) {
  std::error_code error;
  if (std::filesystem::is_empty(infiniband_dir, error) || error) return "";
  rlimit limit = {};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
      limit.rlim_cur >= kLockedBytesWanted) {
    return "";
  }
  return absl::StrCat("this host has InfiniBand, but at most ", limit.rlim_cur >> 10,
                      " KiB may be locked in memory (ulimit -l): NCCL will not use it; raise the "
                      "limit (in Kubernetes: LimitMEMLOCK=infinity of the node's containerd)");
}

}  // namespace tamis
