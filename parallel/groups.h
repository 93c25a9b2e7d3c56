// SPDX-License-Identifier: Apache-2.0
// The kinds of group a rank can belong to. Each gives a Control and host Collectives.
#pragma once

#include <functional>
#include <memory>

#include "parallel/collectives.h"
#include "parallel/control.h"
#include "parallel/world.h"

namespace tamis {

struct Group {
  std::unique_ptr<Control> control;
  std::unique_ptr<Collectives> collectives;  // on host memory
};

// One rank, alone.
Group MakeSelfGroup();

// This process's rank in MPI_COMM_WORLD (a private duplicate of it). `env` must be initialised and
// outlive the group. Main thread only.
Group MakeMpiGroup(const MpiEnv& env);

// Runs body(rank, group) on `size` threads whose groups are joined through memory, and returns
// when all have ended. For tests: tensor-parallel numerics without MPI.
void RunLoopback(int size, const std::function<void(int rank, Group& group)>& body);

}  // namespace tamis
