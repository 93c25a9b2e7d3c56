// SPDX-License-Identifier: Apache-2.0
// Stands in for the mpi_*.cc files when built with TAMIS_MPI=OFF: one process is one rank.
#include <unistd.h>

#include <array>

#include "parallel/groups.h"

namespace tamis {

MpiEnv::MpiEnv(int*, char***) {
  std::array<char, 256> name = {};
  world_.host = gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

MpiEnv::~MpiEnv() = default;

Group MakeMpiGroup(const MpiEnv&) { return MakeSelfGroup(); }

}  // namespace tamis
