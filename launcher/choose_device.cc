// SPDX-License-Identifier: Apache-2.0
#include "launcher/choose_device.h"

#include "absl/strings/str_cat.h"
#include "parallel/cuda_group.h"

namespace tamis {

absl::StatusOr<ChosenDevice> ChooseDevice(const ServeConfig& config, const World& world) {
  const std::string& wanted = config.ranks.device;
  const int num_gpus = wanted == "cpu" ? 0 : CudaDeviceCount();
  if (wanted == "cuda" && num_gpus == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device: cuda; allowed are auto and cpu, because ",
                     CudaBuilt() ? absl::StrCat("host ", world.host, " shows no CUDA device")
                                 : "this program was built without CUDA"));
  }
  if (num_gpus == 0) {
    if (config.cache.gpu_memory_utilization > 0) {
      return absl::InvalidArgumentError(
          "--gpu-memory-utilization: needs a GPU; on CPUs use --kv-cache-memory-bytes");
    }
    return ChosenDevice{};
  }
  const int gpu = world.local_rank % num_gpus;
  SetCudaDevice(gpu);
  ChosenDevice device;
  device.kind = DeviceKind::kCuda;
  device.name = absl::StrCat("cuda:", gpu, ", ", CudaDeviceName());
  return device;
}

void CountSharers(Control& control, ChosenDevice* device) {
  if (device->kind == DeviceKind::kCuda) device->num_ranks = RanksOnMyGpu(control);
}

}  // namespace tamis
