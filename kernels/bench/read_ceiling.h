// SPDX-License-Identifier: Apache-2.0
// What this machine's memory can deliver: the measure that every other figure stands beside.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace tamis::bench {

// How many bytes to read: more than any cache holds many times over.
constexpr int64_t kCudaCeilingBytes = int64_t{4} << 30;
constexpr int64_t kCpuCeilingBytes = int64_t{128} << 20;

// Bytes per second of reading memory once with nothing else to do; the best of several runs.
// Allocates its buffer and gives it back. On CUDA: a plain kernel on the thread's current device,
// kCudaCeilingBytes. On the CPU: `cpu_threads` threads, kCpuCeilingBytes.
double ReadCeiling(DeviceKind device, int cpu_threads);

// The CUDA half; dies in a build without CUDA.
double CudaReadCeiling();

}  // namespace tamis::bench
