// SPDX-License-Identifier: Apache-2.0
// MPI's life. The only reader of MPI's own environment variables: without them this process was
// not started by mpirun, and starting MPI would only cost time and open sockets.
#include <mpi.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "kernels/check.h"
#include "parallel/mpi_check.h"
#include "parallel/world.h"

namespace tamis {
namespace {

bool StartedByMpirun() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr ||
         std::getenv("PMI_RANK") != nullptr;
}

std::string HostName() {
  std::array<char, 256> name = {};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

// True once every rank is about to finalise. A rank that is stopped or hangs must not keep the
// others: MPI_Finalize would wait for it without bound.
bool AllRanksReachTheEnd() {
  constexpr auto kTimeout = std::chrono::seconds(10);
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS) return false;
  const auto deadline = std::chrono::steady_clock::now() + kTimeout;
  int done = 0;
  while (std::chrono::steady_clock::now() < deadline) {
    if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
    if (done != 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace

void CheckMpi(int code, std::source_location site) {
  if (code == MPI_SUCCESS) [[likely]]
    return;
  std::array<char, MPI_MAX_ERROR_STRING> text = {};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) length = 0;
  Die("MPI error " + std::to_string(code) + ": " +
          std::string(text.data(), static_cast<size_t>(length)),
      site);
}

MpiEnv::MpiEnv(int* argc, char*** argv) {
  world_.host = HostName();
  SetFailureRank(world_.rank);
  if (!StartedByMpirun()) return;
  int provided = 0;
  CheckMpi(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided));
  initialised_ = true;
  CHECK(provided >= MPI_THREAD_FUNNELED) << "this MPI allows no other threads in the process";
  CheckMpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  CheckMpi(MPI_Comm_rank(MPI_COMM_WORLD, &world_.rank));
  CheckMpi(MPI_Comm_size(MPI_COMM_WORLD, &world_.size));
  SetFailureRank(world_.rank);
  MPI_Comm host = MPI_COMM_NULL;
  CheckMpi(
      MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world_.rank, MPI_INFO_NULL, &host));
  CheckMpi(MPI_Comm_rank(host, &world_.local_rank));
  CheckMpi(MPI_Comm_size(host, &world_.local_size));
  CheckMpi(MPI_Comm_free(&host));
}

MpiEnv::~MpiEnv() {
  if (!initialised_) return;
  if (!AllRanksReachTheEnd()) {
    // mpirun takes an end without MPI_Finalize for a failure and ends the other ranks.
    std::fprintf(stderr, "[rank %d] other ranks did not end: leaving MPI unfinalised\n",
                 world_.rank);
    return;
  }
  if (MPI_Finalize() != MPI_SUCCESS) {
    std::fprintf(stderr, "[rank %d] MPI_Finalize failed\n", world_.rank);
  }
}

}  // namespace tamis
