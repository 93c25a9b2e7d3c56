// SPDX-License-Identifier: Apache-2.0
// What device.cc needs from CUDA. Private to kernels/: device_cuda.cc defines these when
// TAMIS_CUDA is on, device_no_cuda.cc otherwise. All die on failure, except the Free functions,
// which run in destructors and must tolerate a driver that is shutting down.
#pragma once

#include <cstddef>

struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

namespace tamis::device_backend {

CUstream_st* NewStream();  // non-blocking, on the thread's current device
void FreeStream(CUstream_st* stream);
void SynchronizeStream(CUstream_st* stream);

CUevent_st* NewEvent(bool timed);
void FreeEvent(CUevent_st* event);
void RecordEvent(CUevent_st* event, CUstream_st* stream);
bool EventDone(CUevent_st* event);
void WaitEvent(CUevent_st* event);
double EventMilliseconds(CUevent_st* from, CUevent_st* to);

void BeginCapture(CUstream_st* stream);            // of this thread's work on the stream
CUgraphExec_st* EndCapture(CUstream_st* stream);   // ready to launch
void LaunchGraph(CUgraphExec_st* graph, CUstream_st* stream);
void FreeGraph(CUgraphExec_st* graph);

void* AllocateDevice(size_t bytes, const char* name);  // device memory, zeroed
void FreeDevice(void* data, size_t bytes);
void* AllocatePinned(size_t bytes, const char* name);  // page-locked, zeroed
void FreePinned(void* data, size_t bytes);

// Device to device, or between host and device, in the stream's order.
void CopyAsync(void* to, const void* from, size_t bytes, CUstream_st* stream);
void CopyRowsAsync(void* to, const void* from, size_t rows, size_t row_bytes, size_t pitch,
                   CUstream_st* stream);

// Ordinary host memory, 64-byte aligned, zero. Defined in device.cc; also what pinned memory is
// without CUDA.
void* AllocateHost(size_t bytes, const char* name);
void FreeHost(void* data, size_t bytes);

}  // namespace tamis::device_backend
