// SPDX-License-Identifier: Apache-2.0
// What to do with MPI's return codes. They arrive because MpiEnv sets MPI_ERRORS_RETURN.
#pragma once

#include <mpi.h>

#include <source_location>

namespace tamis {

// Dies with MPI's text and the caller's site unless `code` is MPI_SUCCESS.
void CheckMpi(int code, std::source_location site = std::source_location::current());

}  // namespace tamis
