// SPDX-License-Identifier: Apache-2.0
// One op on the CPU and on the GPU: tensors that exist on both with the same content, and the
// comparison of what the two runs left behind. Outputs start as NaN (or -77), so that an element
// that nobody wrote is seen.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/convert.h"
#include "kernels/device.h"
#include "kernels/scratch.h"

namespace tamis {

// The same tensor on both devices.
struct Twin {
  TensorView cpu;
  TensorView cuda;
  const TensorView& On(DeviceKind device) const { return device == DeviceKind::kCuda ? cuda : cpu; }
};

class Twins {
 public:
  static constexpr size_t kScratchBytes = size_t{256} << 20;

  explicit Twins(uint64_t seed)
      : random_(seed),
        cuda_(Stream::Cuda()),
        cpu_scratch_(Buffer(MemoryKind::kCpu, kScratchBytes, "scratch")),
        cuda_scratch_(Buffer(MemoryKind::kCuda, kScratchBytes, "scratch")) {}

  // Elements f(0), f(1), ... rounded to the dtype.
  template <typename Of>
  Twin Floats(Shape shape, DType dtype, Of of) {
    Twin twin = Allocate(shape, dtype);
    cpu::ForFloatType(dtype, [&](auto zero) {
      using T = decltype(zero);
      for (int64_t i = 0; i < shape.elements(); ++i) {
        static_cast<T*>(twin.cpu.data)[i] = cpu::FromFloat<T>(of(i));
      }
    });
    Upload(twin);
    return twin;
  }
  Twin Normal(Shape shape, DType dtype, float deviation = 1.0f) {
    std::normal_distribution<float> distribution(0.0f, deviation);
    return Floats(shape, dtype, [&](int64_t) { return distribution(random_); });
  }
  Twin Poisoned(Shape shape, DType dtype) {
    if (dtype == DType::kI32) {
      return Ints(shape, std::vector<int32_t>(static_cast<size_t>(shape.elements()), -77));
    }
    return Floats(shape, dtype, [](int64_t) { return std::numeric_limits<float>::quiet_NaN(); });
  }
  Twin Ints(Shape shape, const std::vector<int32_t>& values) {
    return Raw(shape, DType::kI32, values);
  }
  Twin Longs(Shape shape, const std::vector<uint64_t>& values) {
    return Raw(shape, DType::kU64, values);
  }
  // Uniform in [low, high].
  std::vector<int32_t> Draw(int64_t count, int32_t low, int32_t high) {
    std::uniform_int_distribution<int32_t> distribution(low, high);
    std::vector<int32_t> values(static_cast<size_t>(count));
    for (int32_t& value : values) value = distribution(random_);
    return values;
  }

  // Runs op(device, scratch, stream) on the CPU, then on the GPU.
  template <typename Op>
  void Run(Op op) {
    op(DeviceKind::kCpu, cpu_scratch_, cpu_);
    RunOnGpu(op);
  }
  template <typename Op>
  void RunOnGpu(Op op) {
    op(DeviceKind::kCuda, cuda_scratch_, cuda_);
    cuda_.Synchronize();
  }

  // Bytes are equal.
  void ExpectSame(const Twin& twin, const char* name) {
    const std::vector<std::byte> got = Download(twin.cuda);
    EXPECT_EQ(std::memcmp(got.data(), twin.cpu.data, twin.cpu.bytes()), 0) << name;
  }
  // ||got - expected|| <= tolerance * ||expected||, and no element is off by more than
  // `worst` * the largest; NaN and infinities stand at the same places.
  void ExpectNear(const Twin& twin, const char* name, double tolerance, double worst) {
    const std::vector<float> expected = AsFloats(twin.cpu.data, twin.cpu);
    const std::vector<std::byte> bytes = Download(twin.cuda);
    const std::vector<float> got = AsFloats(bytes.data(), twin.cpu);
    double error = 0, norm = 0, largest = 0, worst_error = 0;
    size_t worst_at = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      if (!std::isfinite(expected[i])) {
        ASSERT_TRUE(got[i] == expected[i] || (std::isnan(got[i]) && std::isnan(expected[i])))
            << name << '[' << i << "] = " << got[i] << ", expected " << expected[i];
        continue;
      }
      ASSERT_TRUE(std::isfinite(got[i])) << name << '[' << i << "] = " << got[i];
      const double off = std::abs(double{got[i]} - double{expected[i]});
      error += off * off;
      norm += double{expected[i]} * double{expected[i]};
      largest = std::max(largest, std::abs(double{expected[i]}));
      if (off > worst_error) worst_at = i;
      worst_error = std::max(worst_error, off);
    }
    EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(norm)) << name;
    EXPECT_LE(worst_error, worst * largest) << name << '[' << worst_at << "] = " << got[worst_at]
                                            << ", expected " << expected[worst_at];
  }
  // As ExpectNear, with the tolerance of one rounding to the dtype (and float32 sums before it).
  void ExpectRounded(const Twin& twin, const char* name) {
    switch (twin.cpu.dtype) {
      case DType::kF32: ExpectNear(twin, name, 2e-6, 1e-5); break;
      case DType::kF16: ExpectNear(twin, name, 4e-4, 1.0 / 1024); break;
      default: ExpectNear(twin, name, 3e-3, 1.0 / 128); break;
    }
  }

  std::vector<std::byte> Download(const TensorView& view) {
    std::vector<std::byte> bytes(view.bytes());
    CopyBytes(bytes.data(), DeviceKind::kCpu, view.data, DeviceKind::kCuda, bytes.size(), cuda_);
    cuda_.Synchronize();
    return bytes;
  }

 private:
  Twin Allocate(Shape shape, DType dtype) {
    const size_t bytes = static_cast<size_t>(shape.elements()) * DTypeBytes(dtype);
    Twin twin;
    twin.cpu = buffers_.emplace_back(MemoryKind::kCpu, bytes, "test").View(shape, dtype);
    twin.cuda = buffers_.emplace_back(MemoryKind::kCuda, bytes, "test").View(shape, dtype);
    return twin;
  }
  void Upload(const Twin& twin) {
    CopyBytes(twin.cuda.data, DeviceKind::kCuda, twin.cpu.data, DeviceKind::kCpu, twin.cpu.bytes(),
              cuda_);
    cuda_.Synchronize();
  }
  template <typename T>
  Twin Raw(Shape shape, DType dtype, const std::vector<T>& values) {
    CHECK_EQ(shape.elements(), static_cast<int64_t>(values.size()));
    Twin twin = Allocate(shape, dtype);
    if (!values.empty()) std::memcpy(twin.cpu.data, values.data(), twin.cpu.bytes());
    Upload(twin);
    return twin;
  }
  static std::vector<float> AsFloats(const void* data, const TensorView& like) {
    std::vector<float> values;
    cpu::ForFloatType(like.dtype, [&](auto zero) {
      using T = decltype(zero);
      for (int64_t i = 0; i < like.elements(); ++i) {
        values.push_back(cpu::ToFloat(static_cast<const T*>(data)[i]));
      }
    });
    return values;
  }

  std::mt19937_64 random_;
  Stream cpu_ = Stream::Cpu();
  Stream cuda_;
  Scratch cpu_scratch_;
  Scratch cuda_scratch_;
  std::deque<Buffer> buffers_;
};

}  // namespace tamis
