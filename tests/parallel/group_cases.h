// SPDX-License-Identifier: Apache-2.0
// What every group must do, as functions of one rank's Group and of a stream on the device that the
// tensors live on: the same cases run over every transport.
#pragma once

#include <vector>

#include "kernels/device.h"
#include "parallel/groups.h"

namespace tamis {

struct GroupCase {
  const char* name;
  void (*run)(Group& group, const Stream& stream);
};

// Of exchange_cases.cc.
void ExchangesLists(Group& group, const Stream& stream);
void ExchangesListsWithTies(Group& group, const Stream& stream);

// Every case, in the order that all ranks must run them.
const std::vector<GroupCase>& GroupCases();

}  // namespace tamis
