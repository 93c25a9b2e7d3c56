// SPDX-License-Identifier: Apache-2.0
// The tile that bounds the scratch of 16-bit products: three of at most this many rows.
#pragma once

#include <cstdint>

namespace tamis::cpu {

constexpr int64_t kMatMulTile = 256;

}  // namespace tamis::cpu
