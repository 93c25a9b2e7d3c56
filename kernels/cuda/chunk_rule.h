// SPDX-License-Identifier: Apache-2.0
// What rows are cut into by attention of one query per sequence. Host and device.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/kv_layout.h"

namespace tamis::cuda {

// Follows from a row's own length and the rank's heads, and nothing else. Short rows get half
// chunks, so that one sequence alone keeps all multiprocessors busy. Long ones get chunks of twice
// and four times the size where that leaves kItemsMin of them over all units: a partial costs far
// more time than its bytes.
class ChunkRule {
 public:
  static constexpr int kChunkTokens = static_cast<int>(kAttentionChunkTokens);
  static constexpr int kItemsMin = 256;

  ChunkRule() = default;
  explicit ChunkRule(int64_t units)
      : twice_from_(LengthOf(2 * kChunkTokens, units)),
        four_times_from_(LengthOf(4 * kChunkTokens, units)) {}

  TAMIS_HOST_DEVICE int Tokens(int attended) const {
    if (attended <= kShortRowTokens) return kChunkTokens / 2;
    if (attended < twice_from_) return kChunkTokens;
    return attended < four_times_from_ ? 2 * kChunkTokens : 4 * kChunkTokens;
  }
  TAMIS_HOST_DEVICE int Chunks(int attended) const {
    return attended <= 0 ? 0 : (attended + Tokens(attended) - 1) / Tokens(attended);
  }
  // The most that any row of up to `attended_max` tokens has.
  int ChunksMax(int64_t attended_max) const {
    const int longest = attended_max < 1 ? 1 : static_cast<int>(attended_max);
    int most = Chunks(longest);
    for (const int last : {kShortRowTokens, twice_from_ - 1, four_times_from_ - 1}) {
      if (last < longest && Chunks(last) > most) most = Chunks(last);
    }
    return most;
  }

 private:
  static constexpr int kShortRowTokens = 8 * kChunkTokens;
  // From where on rows are cut into kItemsMin chunks of so many tokens.
  static int LengthOf(int tokens, int64_t units) {
    return static_cast<int>((int64_t{kItemsMin} * tokens + units - 1) / units);
  }

  int twice_from_ = 0;
  int four_times_from_ = 0;
};

}  // namespace tamis::cuda
