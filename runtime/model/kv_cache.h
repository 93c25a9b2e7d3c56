// SPDX-License-Identifier: Apache-2.0
// The paged key/value memory of one rank, and the layer groups whose block tables it follows.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "kernels/kv_layout.h"
#include "parallel/shard.h"
#include "runtime/model/config.h"

namespace tamis {

// Layers that share block tables: group 0 is the dense layers (filter layers among them), every
// further group one segment of sparse layers. Without selection there is group 0 alone.
struct LayerGroups {
  std::vector<int> group_of_layer;  // [L]
  int num_groups = 1;
};

// All layers in group 0.
LayerGroups DenseLayerGroups(int64_t num_layers);

struct KvCacheConfig {
  int64_t block_tokens = 16;  // P
  int64_t num_blocks = 0;     // B, the same for every group and every rank
  DType dtype = DType::kF32;
};

// Bytes that one block takes over all layers of this rank.
size_t KvBytesPerBlock(const ModelConfig& config, const ModelShard& shard,
                       const KvCacheConfig& cache);

// Owns the pages. Memory only: which block belongs to whom is the engine's BlockPool.
class KvCache {
 public:
  KvCache(const ModelConfig& config, const ModelShard& shard, const KvCacheConfig& cache,
          LayerGroups groups, DeviceKind device);

  const KvPages& layer(int64_t layer_idx) const { return pages_[static_cast<size_t>(layer_idx)]; }
  const LayerGroups& groups() const { return groups_; }
  const KvCacheConfig& config() const { return config_; }

 private:
  KvCacheConfig config_;
  LayerGroups groups_;
  Buffer buffer_;
  std::vector<KvPages> pages_;  // [L]
};

}  // namespace tamis
