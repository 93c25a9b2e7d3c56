// SPDX-License-Identifier: Apache-2.0
// How TopK divides its rows, for its launch and for the start-up arithmetic of scratch.
#pragma once

#include <cstdint>

namespace tamis::cuda {

constexpr int kTopKPiecesMax = 128;  // blocks of a launch with few rows

struct TopKLayout {
  int64_t pieces = 1;    // blocks per row, a power of two
  int64_t groups = 1;    // maxima per piece, a power of two
  int64_t list_max = 0;  // entries that a piece may list
  int64_t join_max = 0;  // entries that a row may list

  // Of one row.
  int64_t ScratchBytes() const {
    return pieces * (4 * groups + 8 * list_max + 4) + 8 * join_max + 4;
  }
};

// rows = S * Hs.
TopKLayout TopKLayoutOf(int64_t rows, int64_t n_max, int64_t k_max);

}  // namespace tamis::cuda
