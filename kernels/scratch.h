// SPDX-License-Identifier: Apache-2.0
// Temporaries of ops: a bump allocator over one fixed buffer, so that no op allocates.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/device.h"

namespace tamis {

// Not thread-safe; one per worker. A ScratchScope gives everything taken inside it back.
class Scratch {
 public:
  explicit Scratch(Buffer buffer)
      : buffer_(std::move(buffer)),
        used_(buffer_.device() == DeviceKind::kCuda ? kCounterBytes : 0) {}

  // On a GPU, a few words that are zero between ops (buffers start zeroed): an op that counts in
  // them leaves them zero, so that none has to spend a launch on clearing them.
  TensorView Counters() {
    CHECK(buffer_.device() == DeviceKind::kCuda) << "counters are for GPU ops";
    return buffer_.View({static_cast<int64_t>(kCounterBytes / 4)}, DType::kI32);
  }

  // Uninitialised space, 256-byte aligned. Dies when the buffer is exhausted: its size is
  // start-up arithmetic, so running out is a bug there.
  TensorView Take(Shape shape, DType dtype) {
    const size_t bytes = static_cast<size_t>(shape.elements()) * DTypeBytes(dtype);
    const size_t begin = (used_ + kAlignment - 1) / kAlignment * kAlignment;
    CHECK_LE(begin + bytes, buffer_.bytes()) << "scratch exhausted by " << shape.ToString();
    used_ = begin + bytes;
    high_water_ = std::max(high_water_, used_);
    return buffer_.View(shape, dtype, begin);
  }
  size_t high_water() const { return high_water_; }
  size_t bytes() const { return buffer_.bytes(); }

 private:
  friend class ScratchScope;
  static constexpr size_t kAlignment = 256;
  static constexpr size_t kCounterBytes = 256;
  Buffer buffer_;
  size_t used_;
  size_t high_water_ = 0;
};

class ScratchScope {
 public:
  explicit ScratchScope(Scratch& scratch) : scratch_(scratch), used_(scratch.used_) {}
  ~ScratchScope() { scratch_.used_ = used_; }
  ScratchScope(const ScratchScope&) = delete;
  ScratchScope& operator=(const ScratchScope&) = delete;

 private:
  Scratch& scratch_;
  size_t used_;
};

}  // namespace tamis
