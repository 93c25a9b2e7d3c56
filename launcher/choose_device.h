// SPDX-License-Identifier: Apache-2.0
// Where a rank's model runs.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "launcher/serve_config.h"
#include "parallel/control.h"
#include "parallel/world.h"

namespace tamis {

struct ChosenDevice {
  DeviceKind kind = DeviceKind::kCpu;
  std::string name = "cpu";  // for people: "cuda:0, NVIDIA H100 80GB HBM3"
  int num_ranks = 1;         // that share it, once CountSharers has been called
};

// From --device: auto is CUDA where this binary and this host have it. GPUs are given out by local
// rank, in turn where there are fewer than ranks, and the calling thread is bound to this rank's.
absl::StatusOr<ChosenDevice> ChooseDevice(const ServeConfig& config, const World& world);

// Collective, on ranks of one kind of device. Two ranks may be on one GPU under different numbers,
// or each see one GPU that is its own: what counts is which GPU it is.
void CountSharers(Control& control, ChosenDevice* device);

}  // namespace tamis
