// SPDX-License-Identifier: Apache-2.0
// One buffer for all layers; a layer's pages are contiguous within it.
#include "runtime/model/kv_cache.h"

#include <utility>

#include "kernels/check.h"

namespace tamis {

LayerGroups DenseLayerGroups(int64_t num_layers) {
  LayerGroups groups;
  groups.group_of_layer.assign(static_cast<size_t>(num_layers), 0);
  return groups;
}

size_t KvBytesPerBlock(const ModelConfig& config, const ModelShard& shard,
                       const KvCacheConfig& cache) {
  const int64_t elements_per_layer =
      shard.heads.kv_heads.count * 2 * cache.block_tokens * config.head_dim;
  return static_cast<size_t>(config.num_layers * elements_per_layer) * DTypeBytes(cache.dtype);
}

KvCache::KvCache(const ModelConfig& config, const ModelShard& shard, const KvCacheConfig& cache,
                 LayerGroups groups, DeviceKind device)
    : config_(cache), groups_(std::move(groups)) {
  CHECK_EQ(static_cast<int64_t>(groups_.group_of_layer.size()), config.num_layers);
  CHECK_GT(cache.num_blocks, 0);
  CHECK_GT(cache.block_tokens, 0);
  for (int group : groups_.group_of_layer) CHECK(group >= 0 && group < groups_.num_groups);

  buffer_ = Buffer(MemoryOf(device),
                   KvBytesPerBlock(config, shard, cache) * static_cast<size_t>(cache.num_blocks),
                   "KV cache");
  KvPages pages;
  pages.dtype = cache.dtype;
  pages.device = device;
  pages.num_blocks = cache.num_blocks;
  pages.kv_heads_local = shard.heads.kv_heads.count;
  pages.block_tokens = cache.block_tokens;
  pages.head_dim = config.head_dim;
  for (int64_t layer_idx = 0; layer_idx < config.num_layers; ++layer_idx) {
    pages.data =
        static_cast<std::byte*>(buffer_.data()) + static_cast<size_t>(layer_idx) * pages.bytes();
    pages_.push_back(pages);
  }
}

}  // namespace tamis
