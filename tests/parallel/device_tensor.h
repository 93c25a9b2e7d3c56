// SPDX-License-Identifier: Apache-2.0
// Tensors of tests of collectives, on whatever device the stream is.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace tamis {

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <typename T>
std::vector<T> ValuesOf(const std::string& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// A tensor on the stream's device between guard bytes, `offset` elements off the alignment of the
// memory it lies in.
class TestTensor {
 public:
  TestTensor(Shape shape, DType dtype, const Stream& stream, int64_t offset = 0)
      : stream_(stream),
        begin_(kGuard + static_cast<size_t>(offset) * DTypeBytes(dtype)),
        bytes_(static_cast<size_t>(shape.elements()) * DTypeBytes(dtype)),
        memory_(MemoryOf(stream.device()), begin_ + bytes_ + kGuard, "test tensor") {
    view_ = memory_.View(shape, dtype, begin_);
    Put(std::string(bytes_, kPoison));
  }
  TestTensor(const std::string& bytes, Shape shape, DType dtype, const Stream& stream,
             int64_t offset = 0)
      : TestTensor(shape, dtype, stream, offset) {
    Put(bytes);
  }

  const TensorView& view() const { return view_; }

  void Put(const std::string& bytes) {
    CHECK_EQ(bytes.size(), bytes_);
    host_.assign(memory_.bytes(), kPoison);
    host_.replace(begin_, bytes_, bytes);
    CopyBytes(memory_.data(), memory_.device(), host_.data(), DeviceKind::kCpu, host_.size(),
              stream_);
    stream_.Synchronize();
  }

  // The bytes; fails the test if a guard was written to.
  std::string Get() {
    CopyBytes(host_.data(), DeviceKind::kCpu, memory_.data(), memory_.device(), host_.size(),
              stream_);
    stream_.Synchronize();
    const size_t end = begin_ + bytes_;
    for (size_t i = 0; i < begin_; ++i) EXPECT_EQ(host_[i], kPoison);
    for (size_t i = end; i < host_.size(); ++i) EXPECT_EQ(host_[i], kPoison);
    return host_.substr(begin_, bytes_);
  }

 private:
  static constexpr size_t kGuard = 64;
  static constexpr char kPoison = '\x5a';
  const Stream& stream_;
  size_t begin_;
  size_t bytes_;
  Buffer memory_;
  TensorView view_;
  std::string host_;
};

}  // namespace tamis
