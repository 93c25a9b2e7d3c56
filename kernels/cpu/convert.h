// SPDX-License-Identifier: Apache-2.0
// The 16-bit float types of the CPU ops, by integer arithmetic: rounding is to nearest even, and
// no instruction set beyond the baseline is needed.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/check.h"
#include "kernels/tensor.h"

namespace tamis::cpu {

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

inline float ToFloat(float x) { return x; }

inline float ToFloat(BF16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

inline float ToFloat(F16 x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16;
  const uint32_t magnitude = x.bits & 0x7fffu;
  // Normal numbers move to float's exponent by adding 112 to it; infinities and NaN by 224.
  const uint32_t normal =
      (magnitude << 13) + (112u << 23) + (magnitude >= 0x7c00u ? 112u << 23 : 0u);
  // Subnormals: 2^-24 times the integer.
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  return std::bit_cast<float>(sign |
                              (magnitude < 0x0400u ? std::bit_cast<uint32_t>(subnormal) : normal));
}

template <typename T>
T FromFloat(float x);

template <>
inline float FromFloat<float>(float x) {
  return x;
}

template <>
inline BF16 FromFloat<BF16>(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(bits >> 16 | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

template <>
inline F16 FromFloat<F16>(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {  // NaN keeps the top of its payload
    half = 0x7e00u | (magnitude >> 13 & 0x1ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 aligns and rounds the integer
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    half = std::bit_cast<uint32_t>(aligned) - 0x3f000000u;
  } else {
    half = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  }
  return {static_cast<uint16_t>(sign | half)};
}

// The element at index i of an untyped array.
template <typename T>
const T* Elements(const void* data) {
  return static_cast<const T*>(data);
}

// Calls run with a value of the element type of `dtype`, as `[&](auto zero) { using T = ... }`.
template <typename Run>
void ForFloatType(DType dtype, Run&& run) {
  switch (dtype) {
    case DType::kF32: run(float{}); return;
    case DType::kF16: run(F16{}); return;
    case DType::kBF16: run(BF16{}); return;
    default: Die("not a float type");
  }
}

}  // namespace tamis::cpu
