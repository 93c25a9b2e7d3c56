// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <string_view>

#include "kernels/ops.h"
#include "runtime/model/weights.h"

namespace tamis {
namespace {

// FNV-1a, 64 bits: a hash that is the same on every rank, machine and build.
uint64_t HashName(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  return hash;
}

}  // namespace

void FillDummyWeights(const ModelConfig& config, const ModelShard& shard, uint64_t seed,
                      ModelWeights& weights, const Stream& stream) {
  for (const WeightPiece& piece : WeightPieces(config, shard, weights)) {
    const bool norm = piece.full_shape.rank() == 1;
    const float mean = norm ? 1.0f : 0.0f;
    // A uniform distribution of reach sqrt(3) s has standard deviation s.
    const float reach = norm ? 0.1f : std::sqrt(3.0f / static_cast<float>(piece.full_shape[1]));
    const uint64_t key = seed * 0x9e3779b97f4a7c15u ^ HashName(piece.name);
    ops::FillRandom(piece.target, key, piece.rows.begin, piece.columns.begin, mean, reach, stream);
  }
  stream.Synchronize();
}

}  // namespace tamis
