// SPDX-License-Identifier: Apache-2.0
// A group whose tensors live on GPUs.
#pragma once

#include "parallel/groups.h"
#include "parallel/world.h"

namespace tamis {

// Which transport carries CUDA tensors. Only kAuto is for serving; the rest are for tests and
// measurements, and die where the transport is not to be had.
enum class CudaTransport : uint8_t {
  kAuto,  // peer-to-peer for small messages, NCCL above; through the host where ranks share a GPU
  kNccl,  // NCCL alone: what kAuto is without peer-to-peer access
  kIpc,   // peer-to-peer alone, large messages in pieces; ranks may share a GPU
  kHost,  // staged through pinned memory over the host group's own transport; not capturable
};

// Collective. The same ranks with collectives that take CUDA tensors, on this thread's current
// device, besides the host tensors that `host` takes. Without a CUDA build this dies.
Group OnCuda(Group host, CudaTransport transport = CudaTransport::kAuto);

// Collective. How many ranks of the group, this one included, are on this thread's current device.
int RanksOnMyGpu(Control& control);

}  // namespace tamis
