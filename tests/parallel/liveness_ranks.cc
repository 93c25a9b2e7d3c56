// SPDX-License-Identifier: Apache-2.0
// The ranks that liveness_test starts under mpirun and does things to. usage: liveness_ranks
// SECONDS MODE: runs broadcasts for that long, then ends in good order, unless the mode is
// "hang": rank 1 beats but never enters the last broadcast; its watchdog has to notice; or
// "late": rank 0 beats but never sends the last broadcast; the others' wait has to end. With "gpu"
// or "ipc" every round has an all-reduce on the GPU, by whatever suits the GPUs there are, or
// peer-to-peer; "gpu-late" is the latter, and rank 0 never comes to the last one.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "kernels/device.h"
#include "parallel/cuda_group.h"
#include "parallel/groups.h"
#include "parallel/heartbeat.h"

namespace tamis {
namespace {

using std::chrono::steady_clock;

// An all-reduce on the GPU, small enough for the peer-to-peer transport, waited for.
class GpuStep {
 public:
  explicit GpuStep(const MpiEnv& env, CudaTransport transport)
      : group_(OnCuda(MakeMpiGroup(env), transport)),
        stream_(Stream::Cuda()),
        memory_(MemoryKind::kCuda, size_t{16} << 10, "step") {}

  void Run() {
    group_.collectives->AllReduce(memory_.View({4096}, DType::kF32), ReduceOp::kMax, stream_);
    stream_.Synchronize();
  }
  Control& control() { return *group_.control; }

 private:
  Group group_;
  Stream stream_;
  Buffer memory_;
};

std::unique_ptr<GpuStep> MakeGpuStep(const MpiEnv& env, const std::string& mode) {
  if (mode != "gpu" && mode != "ipc" && mode != "gpu-late") return nullptr;
  SetCudaDevice(env.world().local_rank % CudaDeviceCount());
  auto step = std::make_unique<GpuStep>(
      env, mode == "gpu" ? CudaTransport::kAuto : CudaTransport::kIpc);
  step->Run();
  if (mode == "gpu-late") step->control().set_timeout(std::chrono::seconds(2));
  return step;
}

int Run(int* argc, char*** argv) {
  const MpiEnv env(argc, argv);
  if (*argc != 3) return 2;
  const auto end = steady_clock::now() + std::chrono::seconds(std::atoi((*argv)[1]));
  const std::string mode = (*argv)[2];
  const int sleeper = mode == "hang" ? 1 : mode == "late" ? 0 : -1;
  const std::chrono::seconds step_limit(mode == "hang" ? 2 : 60);
  Group group = MakeMpiGroup(env);
  const std::unique_ptr<GpuStep> gpu_step = MakeGpuStep(env, mode);
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
    if (gpu_step != nullptr) {
      if (mode == "gpu-late" && over && env.world().rank == 0) {
        std::this_thread::sleep_for(std::chrono::minutes(10));
      }
      gpu_step->Run();
    }
    heartbeat.Disarm();
  }
  return 0;
}

}  // namespace
}  // namespace tamis

int main(int argc, char** argv) { return tamis::Run(&argc, &argv); }
