// SPDX-License-Identifier: Apache-2.0
// exp for vector loops: branch-free, the same bits under every instruction set, within 2 ulp.
// (libm's is a call per element and need not agree between machines.)
#pragma once

#include <cstdint>

namespace tamis::cpu {

// Below the smallest normal float the result is 0; NaN stays NaN.
inline __attribute__((always_inline)) float Exp(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // 9 bits, so that n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in low bits
  const float shifted = x * kLog2E + kRounder;
  const float n = shifted - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= ln(2) / 2
  // Taylor's coefficients; the error at |r| = 0.35 is 1e-8 relative.
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = (p * r) * r + r + 1.0f;
  // 2^n in two factors, since n = 128 occurs just below the overflow.
  const int32_t exponent = static_cast<int32_t>(__builtin_bit_cast(uint32_t, shifted) -
                                                __builtin_bit_cast(uint32_t, kRounder));
  const int32_t half = exponent >> 1;
  const float a = __builtin_bit_cast(float, (static_cast<uint32_t>(half) + 127u) << 23);
  const float b = __builtin_bit_cast(float, (static_cast<uint32_t>(exponent - half) + 127u) << 23);
  const float value = (p * a) * b;
  const float bounded = x > 88.72283f ? __builtin_inff() : value;
  return x < -87.33654f ? 0.0f : bounded;
}

}  // namespace tamis::cpu
