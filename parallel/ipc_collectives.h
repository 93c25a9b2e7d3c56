// SPDX-License-Identifier: Apache-2.0
// Collectives on CUDA tensors by stores into the other GPUs' memory (CUDA IPC). Private to
// parallel/ and its tests; others call OnCuda.
#pragma once

#include <memory>

#include "parallel/collectives.h"
#include "parallel/control.h"

namespace tamis {

// Collective. nullptr, on every rank alike, where IpcChannel::Open gives none. Messages of any
// size, larger ones in rounds of 1 MiB: meant for small ones, where a round costs a few
// microseconds. Capturable. `control` must outlive the result; its timeout, as it is when a call
// is queued or captured, bounds the wait for every peer inside the kernel; then the process dies
// naming the call and the peer.
std::unique_ptr<Collectives> MakeIpcCollectives(Control& control);

}  // namespace tamis
