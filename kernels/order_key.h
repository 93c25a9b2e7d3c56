// SPDX-License-Identifier: Apache-2.0
// The strict total order of selection, shared by host and device: score descending, then position
// ascending; -0 equals +0; NaN is lowest. Every kernel that compares scores goes through here.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/host_device.h"

namespace tamis {

// A float's place in the order: larger key = higher score. Keys are equal exactly for scores that
// tie; 0 is NaN and only NaN.
TAMIS_HOST_DEVICE inline uint32_t OrderKey(float score) {
  if (score != score) return 0;
  score += 0.0f;  // -0 + 0 = +0
  uint32_t bits;
  memcpy(&bits, &score, sizeof bits);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// True if (score_a, position_a) stands before (score_b, position_b).
TAMIS_HOST_DEVICE inline bool Precedes(float score_a, int32_t position_a, float score_b,
                                       int32_t position_b) {
  const uint32_t a = OrderKey(score_a);
  const uint32_t b = OrderKey(score_b);
  return a != b ? a > b : position_a < position_b;
}

}  // namespace tamis
