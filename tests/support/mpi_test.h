// SPDX-License-Identifier: Apache-2.0
// For tests that run under mpirun (tamis_test with RANKS): mpi_main.cc has initialised MPI.
#pragma once

#include "parallel/world.h"

namespace tamis {

// This process's MPI, alive from before the first test to after the last.
const MpiEnv& TestMpi();

}  // namespace tamis
