// SPDX-License-Identifier: Apache-2.0
// The device backend of a binary without CUDA: there is no GPU, and pinned memory is ordinary.
#include "kernels/check.h"
#include "kernels/device.h"
#include "kernels/device_backend.h"
#include "kernels/trace.h"

namespace tamis {
namespace {

[[noreturn]] void NoCuda(const char* what) { Die(std::string(what) + ": built without CUDA"); }

}  // namespace

bool CudaBuilt() { return false; }
int CudaDeviceCount() { return 0; }
void SetCudaDevice(int) { NoCuda("SetCudaDevice"); }
DeviceMemory CudaMemory() { NoCuda("CudaMemory"); }
std::string CudaDeviceName() { NoCuda("CudaDeviceName"); }

TraceRange::TraceRange(const char*) {}
TraceRange::~TraceRange() {}

namespace device_backend {

CUstream_st* NewStream() { NoCuda("Stream"); }
void FreeStream(CUstream_st*) {}
void SynchronizeStream(CUstream_st*) { NoCuda("Stream"); }

CUevent_st* NewEvent(bool) { NoCuda("Event"); }
void FreeEvent(CUevent_st*) {}
void RecordEvent(CUevent_st*, CUstream_st*) { NoCuda("Event"); }
bool EventDone(CUevent_st*) { NoCuda("Event"); }
void WaitEvent(CUevent_st*) { NoCuda("Event"); }
double EventMilliseconds(CUevent_st*, CUevent_st*) { NoCuda("Event"); }

void BeginCapture(CUstream_st*) { NoCuda("Graph"); }
CUgraphExec_st* EndCapture(CUstream_st*) { NoCuda("Graph"); }
void LaunchGraph(CUgraphExec_st*, CUstream_st*) { NoCuda("Graph"); }
void FreeGraph(CUgraphExec_st*) {}

void* AllocateDevice(size_t, const char* name) { NoCuda(name); }
void FreeDevice(void*, size_t) {}
void* AllocatePinned(size_t bytes, const char* name) { return AllocateHost(bytes, name); }
void FreePinned(void* data, size_t bytes) { FreeHost(data, bytes); }

void CopyAsync(void*, const void*, size_t, CUstream_st*) { NoCuda("CopyBytes"); }
void CopyRowsAsync(void*, const void*, size_t, size_t, size_t, CUstream_st*) {
  NoCuda("CopyRows");
}

}  // namespace device_backend
}  // namespace tamis
