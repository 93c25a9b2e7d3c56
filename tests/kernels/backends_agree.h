// SPDX-License-Identifier: Apache-2.0
// What the tests of ops on both devices share. They need a GPU.
#pragma once

#include "kernels/device.h"
#include "tests/kernels/twins.h"

namespace tamis {

inline constexpr DType kFloatTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

class BackendsAgree : public testing::Test {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "no CUDA device is visible";
    SetCudaDevice(0);
  }
};

// Weights are rounded to the storage type before they meet the values: one more rounding.
inline void ExpectAttention(Twins& twins, const Twin& out) {
  switch (out.cpu.dtype) {
    case DType::kF32: twins.ExpectNear(out, "out", 5e-6, 2e-5); break;
    case DType::kF16: twins.ExpectNear(out, "out", 8e-4, 1.0 / 512); break;
    default: twins.ExpectNear(out, "out", 6e-3, 1.0 / 64); break;
  }
}

}  // namespace tamis
