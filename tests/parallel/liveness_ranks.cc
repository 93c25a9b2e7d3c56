// SPDX-License-Identifier: Apache-2.0
// The ranks that liveness_test starts under mpirun and does things to. usage: liveness_ranks
// SECONDS MODE: runs broadcasts for that long, then ends in good order; with MODE "hang" rank 1
// never enters the last one but keeps beating, and its watchdog has to notice.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "parallel/groups.h"
#include "parallel/heartbeat.h"

namespace tamis {
namespace {

using std::chrono::steady_clock;

int Run(int* argc, char*** argv) {
  const MpiEnv env(argc, argv);
  if (*argc != 3) return 2;
  const auto end = steady_clock::now() + std::chrono::seconds(std::atoi((*argv)[1]));
  const bool hang = std::string((*argv)[2]) == "hang";
  Group group = MakeMpiGroup(env);
  Heartbeat heartbeat(env.world(), *group.control);
  std::printf("rank %d pid %d peers %d\n", env.world().rank, static_cast<int>(getpid()),
              heartbeat.peers());
  std::fflush(stdout);
  std::string plan = "run";
  while (plan == "run") {
    heartbeat.Arm("step of liveness_ranks",
                  steady_clock::now() + std::chrono::seconds(hang ? 2 : 60));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (env.world().rank == 0 && steady_clock::now() > end) plan = "stop";
    if (hang && env.world().rank == 1 && steady_clock::now() > end) {
      std::this_thread::sleep_for(std::chrono::minutes(10));
    }
    group.control->Broadcast(&plan);
    heartbeat.Disarm();
  }
  return 0;
}

}  // namespace
}  // namespace tamis

int main(int argc, char** argv) { return tamis::Run(&argc, &argv); }
