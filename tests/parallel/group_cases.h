// SPDX-License-Identifier: Apache-2.0
// What every group must do, as functions of one rank's Group: the same cases run over loopback,
// shared memory and MPI messages.
#pragma once

#include <vector>

#include "parallel/groups.h"

namespace tamis {

struct GroupCase {
  const char* name;
  void (*run)(Group& group);
};

// Every case, in the order that all ranks must run them.
const std::vector<GroupCase>& GroupCases();

}  // namespace tamis
