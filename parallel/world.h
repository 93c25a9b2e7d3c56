// SPDX-License-Identifier: Apache-2.0
// Who am I among the ranks. Nothing else in the program asks MPI.
#pragma once

#include <cstdint>
#include <string>

namespace tamis {

struct World {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // index among the ranks of this host
  int local_size = 1;
  std::string host;
};

// MPI's life: initialises (THREAD_FUNNELED, errors returned) if this process was started by
// mpirun, otherwise one rank without MPI. The object must outlive every MPI group and must be
// created and destroyed by the main thread. Not movable. Signal handlers that must stand before
// MPI_Init returns are installed by the caller before constructing it.
class MpiEnv {
 public:
  MpiEnv(int* argc, char*** argv);
  ~MpiEnv();  // finalises; logs, never aborts
  MpiEnv(const MpiEnv&) = delete;
  MpiEnv& operator=(const MpiEnv&) = delete;

  const World& world() const { return world_; }
  bool initialised() const { return initialised_; }

 private:
  World world_;
  bool initialised_ = false;
};

}  // namespace tamis
