// SPDX-License-Identifier: Apache-2.0
// A random paged KV cache and attention over it by definition, in double precision. Addresses are
// worked out from the layout in kv_layout.h's first lines, not through its helpers.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/kv_layout.h"
#include "tests/kernels/test_tensor.h"

namespace tamis::testing {

struct CacheSizes {
  int64_t kv_heads = 2;
  int64_t group = 3;  // query heads per KV head
  int64_t head_dim = 20;
  int64_t block_tokens = 16;

  int64_t q_width() const { return kv_heads * group * head_dim; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }
};

class PagedCache {
 public:
  // Blocks of all sequences are shuffled; those that no sequence owns hold NaN.
  PagedCache(const CacheSizes& sizes, const std::vector<int32_t>& contexts, DType dtype,
             std::mt19937& random)
      : sizes_(sizes),
        contexts_(contexts),
        blocks_max_(1 + *std::max_element(contexts.begin(), contexts.end()) / sizes.block_tokens),
        num_blocks_(static_cast<int64_t>(contexts.size()) * blocks_max_ + 3),
        data_({num_blocks_, sizes.kv_heads * 2, sizes.block_tokens, sizes.head_dim}, dtype),
        context_lens_(TestTensor::Ints(contexts)),
        block_table_(Table(random)) {
    std::normal_distribution<float> normal;
    for (size_t s = 0; s < contexts.size(); ++s) {
      for (int64_t p = 0; p < contexts[s]; ++p) {
        for (int64_t h = 0; h < sizes.kv_heads; ++h) {
          for (int64_t part = 0; part < 2; ++part) {
            const int64_t at = Element(static_cast<int64_t>(s), p, h, part);
            for (int64_t d = 0; d < sizes.head_dim; ++d) data_.Set(at + d, normal(random));
          }
        }
      }
    }
  }

  KvPages pages() const {
    return {data_.view().data, data_.view().dtype,  DeviceKind::kCpu, num_blocks_,
            sizes_.kv_heads,   sizes_.block_tokens, sizes_.head_dim};
  }
  DecodeBatch decode() const {
    return {context_lens_, block_table_, *std::max_element(contexts_.begin(), contexts_.end())};
  }
  const TestTensor& block_table() const { return block_table_; }
  const TestTensor& context_lens() const { return context_lens_; }

  // scale * q . k, where q starts at element `at` of `query`.
  double Logit(const TestTensor& query, int64_t at, int64_t s, int64_t position,
               int64_t kv_head) const {
    const int64_t key = Element(s, position, kv_head, 0);
    double dot = 0.0;
    for (int64_t d = 0; d < sizes_.head_dim; ++d) {
      dot += static_cast<double>(query.At(at + d)) * data_.At(key + d);
    }
    return dot / std::sqrt(static_cast<double>(sizes_.head_dim));
  }
  // Softmax attention of one query head over the given positions.
  std::vector<double> Attend(const TestTensor& query, int64_t at, int64_t s, int64_t kv_head,
                             const std::vector<int32_t>& positions) const {
    std::vector<double> out(static_cast<size_t>(sizes_.head_dim));
    double sum = 0.0;
    for (const int32_t p : positions) {
      const double weight = std::exp(Logit(query, at, s, p, kv_head));
      sum += weight;
      const int64_t value = Element(s, p, kv_head, 1);
      for (int64_t d = 0; d < sizes_.head_dim; ++d) {
        out[static_cast<size_t>(d)] += weight * data_.At(value + d);
      }
    }
    for (double& x : out) x = positions.empty() ? 0.0 : x / sum;
    return out;
  }

 private:
  int64_t Element(int64_t s, int64_t position, int64_t head, int64_t part) const {
    const int64_t block = block_table_.Int(s * blocks_max_ + position / sizes_.block_tokens);
    return (((block * sizes_.kv_heads + head) * 2 + part) * sizes_.block_tokens +
            position % sizes_.block_tokens) *
           sizes_.head_dim;
  }
  TestTensor Table(std::mt19937& random) const {
    std::vector<int32_t> blocks(static_cast<size_t>(num_blocks_));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    blocks.resize(contexts_.size() * static_cast<size_t>(blocks_max_));
    return TestTensor::Ints({static_cast<int64_t>(contexts_.size()), blocks_max_}, blocks);
  }

  CacheSizes sizes_;
  std::vector<int32_t> contexts_;
  int64_t blocks_max_;
  int64_t num_blocks_;
  TestTensor data_;
  TestTensor context_lens_;
  TestTensor block_table_;
};

// 0, 1, ..., n - 1.
inline std::vector<int32_t> FirstPositions(int64_t n) {
  std::vector<int32_t> positions(static_cast<size_t>(n));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

}  // namespace tamis::testing
