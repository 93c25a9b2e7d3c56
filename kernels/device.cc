// SPDX-License-Identifier: Apache-2.0
// Streams, events and buffers: the CPU in full, CUDA through device_backend.h.
#include "kernels/device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "kernels/check.h"
#include "kernels/device_backend.h"
#include "kernels/graph.h"

namespace tamis {
namespace {

// From here on memory comes straight from the OS: zero pages that cost nothing until touched.
// Smaller blocks come from malloc, where the address sanitizer sees overruns.
constexpr size_t kMapBytes = size_t{1} << 20;
constexpr size_t kAlignment = 64;

void* Allocate(MemoryKind kind, size_t bytes, const char* name) {
  switch (kind) {
    case MemoryKind::kCpu: return device_backend::AllocateHost(bytes, name);
    case MemoryKind::kPinned: return device_backend::AllocatePinned(bytes, name);
    case MemoryKind::kCuda: return device_backend::AllocateDevice(bytes, name);
  }
  Die("unknown kind of memory");
}

void Free(MemoryKind kind, void* data, size_t bytes) {
  if (data == nullptr) return;
  switch (kind) {
    case MemoryKind::kCpu: device_backend::FreeHost(data, bytes); break;
    case MemoryKind::kPinned: device_backend::FreePinned(data, bytes); break;
    case MemoryKind::kCuda: device_backend::FreeDevice(data, bytes); break;
  }
}

}  // namespace

namespace device_backend {

void* AllocateHost(size_t bytes, const char* name) {
  if (bytes >= kMapBytes) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(data != MAP_FAILED) << "no host memory: " << bytes << " bytes for " << name;
    // Weights are streamed and pages of KV are hit at random: both miss the TLB less. Only a hint.
    static_cast<void>(madvise(data, bytes, MADV_HUGEPAGE));
    return data;
  }
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, rounded);
  CHECK(data != nullptr) << "no host memory: " << bytes << " bytes for " << name;
  std::memset(data, 0, rounded);
  return data;
}

void FreeHost(void* data, size_t bytes) {
  if (bytes >= kMapBytes) {
    static_cast<void>(munmap(data, bytes));
  } else {
    std::free(data);
  }
}

}  // namespace device_backend

Stream Stream::Cuda() { return Stream(DeviceKind::kCuda, device_backend::NewStream()); }

Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(handle_, other.handle_);
  return *this;
}

Stream::~Stream() {
  if (handle_ != nullptr) device_backend::FreeStream(handle_);
}

void Stream::Synchronize() const {
  if (device_ == DeviceKind::kCuda) device_backend::SynchronizeStream(handle_);
}

Event::Event(DeviceKind device, bool timed) : device_(device) {
  if (device == DeviceKind::kCuda) handle_ = device_backend::NewEvent(timed);
}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(handle_, other.handle_);
  return *this;
}

Event::~Event() {
  if (handle_ != nullptr) device_backend::FreeEvent(handle_);
}

void Event::Record(const Stream& stream) {
  CHECK(stream.device() == device_) << "an event and its stream are of one device";
  if (device_ == DeviceKind::kCuda) device_backend::RecordEvent(handle_, stream.cuda());
}

bool Event::Done() const {
  return device_ == DeviceKind::kCpu || device_backend::EventDone(handle_);
}

void Event::Wait() const {
  if (device_ == DeviceKind::kCuda) device_backend::WaitEvent(handle_);
}

double MillisecondsBetween(const Event& from, const Event& to) {
  CHECK(from.cuda() != nullptr && to.cuda() != nullptr) << "only CUDA events have times";
  return device_backend::EventMilliseconds(from.cuda(), to.cuda());
}

void Graph::BeginCapture(const Stream& stream) {
  CHECK(stream.device() == DeviceKind::kCuda) << "graphs are captured from CUDA streams";
  device_backend::BeginCapture(stream.cuda());
}

Graph Graph::EndCapture(const Stream& stream) {
  return Graph(device_backend::EndCapture(stream.cuda()));
}

void Graph::Launch(const Stream& stream) const {
  device_backend::LaunchGraph(handle_, stream.cuda());
}

Graph::~Graph() {
  if (handle_ != nullptr) device_backend::FreeGraph(handle_);
}

Buffer::Buffer(MemoryKind kind, size_t bytes, const char* name)
    : kind_(kind), bytes_(bytes), data_(bytes == 0 ? nullptr : Allocate(kind, bytes, name)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(kind_, other.kind_);
  std::swap(bytes_, other.bytes_);
  std::swap(data_, other.data_);
  return *this;
}

Buffer::~Buffer() { Free(kind_, data_, bytes_); }

TensorView Buffer::View(Shape shape, DType dtype, size_t offset) const {
  const size_t bytes = static_cast<size_t>(shape.elements()) * DTypeBytes(dtype);
  CHECK(offset <= bytes_ && bytes <= bytes_ - offset)
      << "view " << shape.ToString() << " of " << DTypeName(dtype) << " at byte " << offset
      << " in a buffer of " << bytes_ << " bytes";
  CHECK_EQ(offset % DTypeBytes(dtype), 0u) << "misaligned view";
  return TensorView(static_cast<std::byte*>(data_) + offset, shape, dtype, device());
}

void CopyBytes(void* to, DeviceKind to_device, const void* from, DeviceKind from_device,
               size_t bytes, const Stream& stream) {
  if (bytes == 0) return;
  if (to_device == DeviceKind::kCpu && from_device == DeviceKind::kCpu) {
    std::memcpy(to, from, bytes);
    return;
  }
  CHECK(stream.device() == DeviceKind::kCuda) << "copies to and from a GPU need its stream";
  device_backend::CopyAsync(to, from, bytes, stream.cuda());
}

void CopyRows(void* to, DeviceKind to_device, const void* from, DeviceKind from_device, size_t rows,
              size_t row_bytes, size_t pitch, const Stream& stream) {
  CHECK_LE(row_bytes, pitch);
  if (rows == 0 || row_bytes == 0) return;
  if (to_device == DeviceKind::kCuda || from_device == DeviceKind::kCuda) {
    CHECK(stream.device() == DeviceKind::kCuda) << "copies to and from a GPU need its stream";
    return device_backend::CopyRowsAsync(to, from, rows, row_bytes, pitch, stream.cuda());
  }
  for (size_t row = 0; row < rows; ++row) {
    std::memcpy(static_cast<std::byte*>(to) + row * pitch,
                static_cast<const std::byte*>(from) + row * pitch, row_bytes);
  }
}

}  // namespace tamis
