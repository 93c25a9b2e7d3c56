// SPDX-License-Identifier: Apache-2.0
// The ranks that liveness_test starts under mpirun and does things to. usage: liveness_ranks
// SECONDS MODE: runs broadcasts for that long, then ends in good order, unless the mode is
// "hang": rank 1 beats but never enters the last broadcast; its watchdog has to notice; or
// "late": rank 0 beats but never sends the last broadcast; the others' wait has to end.
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
  const std::string mode = (*argv)[2];
  const int sleeper = mode == "hang" ? 1 : mode == "late" ? 0 : -1;
  const std::chrono::seconds step_limit(mode == "hang" ? 2 : 60);
  Group group = MakeMpiGroup(env);
  Heartbeat heartbeat(env.world(), *group.control);
  std::printf("rank %d pid %d peers %d\n", env.world().rank, static_cast<int>(getpid()),
              heartbeat.peers());
  std::fflush(stdout);
  if (mode == "late") group.control->set_timeout(std::chrono::seconds(2));
  std::string plan = "run";
  while (plan == "run") {
    heartbeat.Arm("step of liveness_ranks", steady_clock::now() + step_limit);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const bool over = steady_clock::now() > end;
    if (over && env.world().rank == sleeper) std::this_thread::sleep_for(std::chrono::minutes(10));
    if (over && env.world().rank == 0) plan = "stop";
    group.control->Broadcast(&plan);
    heartbeat.Disarm();
  }
  return 0;
}

}  // namespace
}  // namespace tamis

int main(int argc, char** argv) { return tamis::Run(&argc, &argv); }
