// SPDX-License-Identifier: Apache-2.0
// The kinds of group a rank can belong to. Each gives a Control and host Collectives; for tensors
// on GPUs see cuda_group.h.
#pragma once

#include <functional>
#include <memory>

#include "parallel/collectives.h"
#include "parallel/control.h"
#include "parallel/world.h"

namespace tamis {

struct Group {
  std::unique_ptr<Control> control;
  std::unique_ptr<Collectives> collectives;  // on host memory, unless made by OnCuda
};

// One rank, alone. Its collectives take tensors on any device.
Group MakeSelfGroup();

// This process's rank in MPI_COMM_WORLD (a private duplicate of it). `env` must be initialised and
// outlive the group. Main thread only.
Group MakeMpiGroup(const MpiEnv& env);

// Runs body(rank, group) on `size` threads whose groups are joined through memory, and returns
// when all have ended. For tests: tensor-parallel numerics without MPI.
void RunLoopback(int size, const std::function<void(int rank, Group& group)>& body);

}  // namespace tamis
