// SPDX-License-Identifier: Apache-2.0
// Owners of device resources: streams, events and memory. CPU-only builds include no CUDA header;
// device.cc serves the CPU, device_cuda.cc or device_no_cuda.cc the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "kernels/tensor.h"

struct CUstream_st;
struct CUevent_st;

namespace tamis {

// True when this binary was built with CUDA.
bool CudaBuilt();
// Number of visible CUDA devices; 0 without CUDA or without a driver.
int CudaDeviceCount();
// Binds the calling thread to a device, once per rank. Dies on failure.
void SetCudaDevice(int device);

// Of the thread's current CUDA device; all die without one.
struct DeviceMemory {
  size_t free = 0;   // bytes
  size_t total = 0;  // bytes
};
DeviceMemory CudaMemory();
std::string CudaDeviceName();

// An ordered queue of work on one device. The CPU stream executes inline. Move-only.
class Stream {
 public:
  static Stream Cpu() { return Stream(DeviceKind::kCpu, nullptr); }
  static Stream Cuda();  // a new non-blocking stream on the thread's current device
  Stream(Stream&& other) noexcept
      : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  DeviceKind device() const { return device_; }
  CUstream_st* cuda() const { return handle_; }
  void Synchronize() const;  // blocks the host; never called inside a step

 private:
  Stream(DeviceKind device, CUstream_st* handle) : device_(device), handle_(handle) {}
  DeviceKind device_;
  CUstream_st* handle_;
};

// A point in a stream's order. On the CPU everything before it is already done. Move-only.
class Event {
 public:
  // A timed one may be given to MillisecondsBetween, and costs the stream a little.
  explicit Event(DeviceKind device, bool timed = false);
  Event(Event&& other) noexcept
      : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}
  Event& operator=(Event&& other) noexcept;
  ~Event();

  void Record(const Stream& stream);
  bool Done() const;  // polls
  void Wait() const;  // blocks the host until the recorded point is reached
  CUevent_st* cuda() const { return handle_; }

 private:
  DeviceKind device_;
  CUevent_st* handle_ = nullptr;
};

// From one recorded and reached event to another, both timed, on one CUDA device.
double MillisecondsBetween(const Event& from, const Event& to);

enum class MemoryKind : uint8_t {
  kCpu,     // ordinary host memory, 64-byte aligned, zero-filled lazily by the OS
  kPinned,  // page-locked host memory; ordinary host memory without CUDA
  kCuda,    // device memory
};

// Owns bytes. Move-only; freed on destruction. Allocation failure dies naming the size and `name`.
class Buffer {
 public:
  Buffer() = default;
  Buffer(MemoryKind kind, size_t bytes, const char* name);
  Buffer(Buffer&& other) noexcept
      : kind_(other.kind_),
        bytes_(std::exchange(other.bytes_, 0)),
        data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  MemoryKind kind() const { return kind_; }
  DeviceKind device() const {
    return kind_ == MemoryKind::kCuda ? DeviceKind::kCuda : DeviceKind::kCpu;
  }
  // A view of `shape` x `dtype` starting at byte `offset`; must lie inside.
  TensorView View(Shape shape, DType dtype, size_t offset = 0) const;

 private:
  MemoryKind kind_ = MemoryKind::kCpu;
  size_t bytes_ = 0;
  void* data_ = nullptr;
};

// Where tensors that ops on `device` read and write live.
constexpr MemoryKind MemoryOf(DeviceKind device) {
  return device == DeviceKind::kCuda ? MemoryKind::kCuda : MemoryKind::kCpu;
}

// Copies bytes between any two kinds of memory in the stream's order. Asynchronous to the host
// only where the host side is pinned.
void CopyBytes(void* to, DeviceKind to_device, const void* from, DeviceKind from_device,
               size_t bytes, const Stream& stream);

// The same for `rows` rows of `row_bytes` that start `pitch` bytes apart on both sides.
void CopyRows(void* to, DeviceKind to_device, const void* from, DeviceKind from_device, size_t rows,
              size_t row_bytes, size_t pitch, const Stream& stream);

}  // namespace tamis
