// SPDX-License-Identifier: Apache-2.0
// Paged keys and values on both devices for the attention tests: sequences of given lengths whose
// blocks lie in no particular order; what belongs to no token is NaN.
#pragma once

#include <algorithm>
#include <ostream>
#include <vector>

#include "kernels/kv_layout.h"
#include "tests/kernels/twins.h"

namespace tamis {

struct HeadShape {
  int64_t q, kv, dim, block_tokens;
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(dim)); }
  friend std::ostream& operator<<(std::ostream& out, const HeadShape& h) {
    return out << h.q << '/' << h.kv << " heads of " << h.dim << ", blocks of " << h.block_tokens;
  }
};

// Groups of 1 to 20 heads, sizes for tensor cores and not, block sizes that are no power of two.
inline constexpr HeadShape kHeadShapes[] = {{32, 8, 128, 16}, {9, 3, 64, 32},  {2, 2, 80, 16},
                                            {16, 1, 128, 24}, {20, 1, 64, 16}, {8, 1, 96, 7},
                                            {4, 2, 16, 4},    {3, 1, 36, 16}};

// Lengths that give every block of a GPU many chunks of one tile before its first long one.
inline std::vector<int32_t> ManyShortRows() {
  std::vector<int32_t> contexts(400, 16);
  contexts.insert(contexts.end(), 56, 512);
  return contexts;
}

class PagedTwins {
 public:
  PagedTwins(Twins& twins, const HeadShape& heads, DType dtype, std::vector<int32_t> contexts,
             int64_t context_len_max)
      : heads_(heads), context_len_max_(context_len_max) {
    const auto sequences = static_cast<int64_t>(contexts.size());
    blocks_max_ = (context_len_max + heads.block_tokens - 1) / heads.block_tokens;
    int64_t used = 0;
    for (const int32_t context : contexts) used += Blocks(context);
    num_blocks_ = used + 3;
    std::vector<int32_t> order(static_cast<size_t>(num_blocks_));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    std::shuffle(order.begin(), order.end(), std::mt19937(17));
    table_.assign(static_cast<size_t>(sequences * blocks_max_), 0);
    std::vector<bool> exists(static_cast<size_t>(num_blocks_ * heads.block_tokens), false);
    size_t next = 0;
    for (int64_t s = 0; s < sequences; ++s) {
      const int32_t context = contexts[static_cast<size_t>(s)];
      for (int64_t b = 0; b < Blocks(context); ++b) {
        table_[static_cast<size_t>(s * blocks_max_ + b)] = order[next++];
      }
      for (int32_t i = 0; i < context; ++i) exists[static_cast<size_t>(Slot(s, i))] = true;
    }
    std::mt19937 random(18);
    std::normal_distribution<float> normal;
    const Shape shape = {num_blocks_ * heads.kv, 2, heads.block_tokens, heads.dim};
    pages_ = twins.Floats(shape, dtype, [&](int64_t i) {
      const int64_t row = i / heads.dim;
      const int64_t block = row / heads.block_tokens / 2 / heads.kv;
      const auto slot = static_cast<size_t>(block * heads.block_tokens + row % heads.block_tokens);
      const float value = normal(random);
      return exists[slot] ? value : std::numeric_limits<float>::quiet_NaN();
    });
    block_table_ = twins.Ints({sequences, blocks_max_}, table_);
    context_lens_ = twins.Ints({sequences}, contexts);
  }

  // Where a token is stored: block * P + offset.
  int32_t Slot(int64_t sequence, int64_t position) const {
    const int64_t entry = sequence * blocks_max_ + position / heads_.block_tokens;
    return static_cast<int32_t>(table_[static_cast<size_t>(entry)] * heads_.block_tokens +
                                position % heads_.block_tokens);
  }
  const Twin& pages() const { return pages_; }
  KvPages Pages(DeviceKind device) const {
    const TensorView& view = pages_.On(device);
    return {view.data, view.dtype,          view.device, num_blocks_,
            heads_.kv, heads_.block_tokens, heads_.dim};
  }
  DecodeBatch Decode(DeviceKind device) const {
    return {context_lens_.On(device), block_table_.On(device), context_len_max_};
  }

 private:
  int64_t Blocks(int64_t tokens) const {
    return (tokens + heads_.block_tokens - 1) / heads_.block_tokens;
  }

  HeadShape heads_;
  int64_t context_len_max_;
  int64_t blocks_max_ = 0;
  int64_t num_blocks_ = 0;
  std::vector<int32_t> table_;
  Twin pages_;
  Twin block_table_;
  Twin context_lens_;
};

}  // namespace tamis
