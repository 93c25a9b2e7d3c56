// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10, a counter-based random generator (Salmon et al., "Parallel Random Numbers: As
// Easy as 1, 2, 3", SC 2011, section 3.3), shared by host and device. The same (seed, position,
// index) gives the same bits on every rank and backend.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"

namespace tamis {

struct PhiloxBlock {
  uint32_t word[4];
};

TAMIS_HOST_DEVICE inline PhiloxBlock Philox(uint64_t key, uint64_t counter_low,
                                            uint64_t counter_high) {
  uint32_t c0 = static_cast<uint32_t>(counter_low);
  uint32_t c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high);
  uint32_t c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in the open interval (0, 1), from the 23 high bits of one word: exact in float32, so
// that host and device agree.
TAMIS_HOST_DEVICE inline float UniformOpen(uint32_t word) {
  return (static_cast<float>(word >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

}  // namespace tamis
