// SPDX-License-Identifier: Apache-2.0
// The device layer on CUDA: streams, events, memory and copies.
#include <cuda_runtime_api.h>
#include <nvtx3/nvToolsExt.h>

#include <cstring>

#include "kernels/cuda/check_cuda.h"
#include "kernels/device.h"
#include "kernels/device_backend.h"
#include "kernels/trace.h"

namespace tamis {

bool CudaBuilt() { return true; }

int CudaDeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // no driver or no device: not an error of later calls
    return 0;
  }
  return count;
}

void SetCudaDevice(int device) { CheckCuda(cudaSetDevice(device)); }

DeviceMemory CudaMemory() {
  DeviceMemory memory;
  CheckCuda(cudaMemGetInfo(&memory.free, &memory.total));
  return memory;
}

std::string CudaDeviceName() {
  int device = 0;
  CheckCuda(cudaGetDevice(&device));
  cudaDeviceProp properties;
  CheckCuda(cudaGetDeviceProperties(&properties, device));
  return properties.name;
}

TraceRange::TraceRange(const char* name) { nvtxRangePushA(name); }
TraceRange::~TraceRange() { nvtxRangePop(); }

namespace device_backend {

CUstream_st* NewStream() {
  cudaStream_t stream = nullptr;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

// The Free functions ignore failure: they run in destructors, perhaps after the driver is gone.
void FreeStream(CUstream_st* stream) { static_cast<void>(cudaStreamDestroy(stream)); }

void SynchronizeStream(CUstream_st* stream) { CheckCuda(cudaStreamSynchronize(stream)); }

CUevent_st* NewEvent(bool timed) {
  cudaEvent_t event = nullptr;
  CheckCuda(
      cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming));
  return event;
}

void FreeEvent(CUevent_st* event) { static_cast<void>(cudaEventDestroy(event)); }

void RecordEvent(CUevent_st* event, CUstream_st* stream) {
  CheckCuda(cudaEventRecord(event, stream));
}

bool EventDone(CUevent_st* event) {
  const cudaError_t status = cudaEventQuery(event);
  if (status == cudaErrorNotReady) return false;
  CheckCuda(status);
  return true;
}

void WaitEvent(CUevent_st* event) { CheckCuda(cudaEventSynchronize(event)); }

double EventMilliseconds(CUevent_st* from, CUevent_st* to) {
  float milliseconds = 0;
  CheckCuda(cudaEventElapsedTime(&milliseconds, from, to));
  return milliseconds;
}

void BeginCapture(CUstream_st* stream) {
  CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
}

CUgraphExec_st* EndCapture(CUstream_st* stream) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  CheckCuda(cudaStreamEndCapture(stream, &graph));
  CheckCuda(cudaGraphInstantiate(&ready, graph, 0));
  CheckCuda(cudaGraphDestroy(graph));
  CheckCuda(cudaGraphUpload(ready, stream));
  return ready;
}

void LaunchGraph(CUgraphExec_st* graph, CUstream_st* stream) {
  CheckCuda(cudaGraphLaunch(graph, stream));
}

void FreeGraph(CUgraphExec_st* graph) { static_cast<void>(cudaGraphExecDestroy(graph)); }

void* AllocateDevice(size_t bytes, const char* name) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  CHECK(status == cudaSuccess) << "no device memory: " << bytes << " bytes for " << name << ": "
                               << cudaGetErrorString(status);
  // The null stream does not order our non-blocking streams, so wait for the zeros here.
  CheckCuda(cudaMemset(data, 0, bytes));
  CheckCuda(cudaStreamSynchronize(nullptr));
  return data;
}

void FreeDevice(void* data, size_t) { static_cast<void>(cudaFree(data)); }

void* AllocatePinned(size_t bytes, const char* name) {
  void* data = nullptr;
  const cudaError_t status = cudaHostAlloc(&data, bytes, cudaHostAllocPortable);
  CHECK(status == cudaSuccess) << "no pinned host memory: " << bytes << " bytes for " << name
                               << ": " << cudaGetErrorString(status);
  std::memset(data, 0, bytes);
  return data;
}

void FreePinned(void* data, size_t) { static_cast<void>(cudaFreeHost(data)); }

void CopyAsync(void* to, const void* from, size_t bytes, CUstream_st* stream) {
  CheckCuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream));
}

void CopyRowsAsync(void* to, const void* from, size_t rows, size_t row_bytes, size_t pitch,
                   CUstream_st* stream) {
  CheckCuda(
      cudaMemcpy2DAsync(to, pitch, from, pitch, row_bytes, rows, cudaMemcpyDefault, stream));
}

}  // namespace device_backend
}  // namespace tamis
