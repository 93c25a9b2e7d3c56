// SPDX-License-Identifier: Apache-2.0
// Collectives on CUDA tensors by NCCL. Private to parallel/ and its tests; others call OnCuda.
#pragma once

#include <memory>

#include "parallel/collectives.h"
#include "parallel/control.h"

namespace tamis {

// Collective. Ranks must be on different GPUs. NCCL promises no order of summation, and rounds to
// the tensor's dtype between ranks; but its rings and trees reduce each element once and hand the
// result round, so all ranks get the same bits (NVLS, which need not, is off). `control` must
// outlive the result; its timeout bounds the set-up. Errors that NCCL reports later end the
// process within a second; a rank that never comes to a call is found by Heartbeat and the
// watchdog, as for any work queued on a stream.
std::unique_ptr<Collectives> MakeNcclCollectives(Control& control);

}  // namespace tamis
