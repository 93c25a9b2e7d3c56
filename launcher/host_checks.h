// SPDX-License-Identifier: Apache-2.0
// What can be told about this process and its host before serving.
#pragma once

#include <cstdint>
#include <string>

namespace tamis {

// A digest of this program's own file, so that ranks of different builds refuse each other.
// "unknown" where /proc is not there.
std::string BuildDigest();

// Memory that this process and its siblings may use: the machine's, or what its control group (a
// container's limit) allows. The argument is for tests.
uint64_t HostMemoryBytes(const std::string& cgroup_dir = "/sys/fs/cgroup");

// A sentence if this host has InfiniBand and the limit on locked memory is too small for it (NCCL
// then falls back to TCP without a word); else "". The arguments are for tests.
std::string LockedMemoryWarning(const std::string& infiniband_dir = "/sys/class/infiniband");

// For a host on which the heartbeat sees fewer ranks than there are.
inline constexpr const char* kNoSharedMemoryWarning =
    "the ranks of this host cannot share memory: only --step-timeout notices one that is stopped";

}  // namespace tamis
