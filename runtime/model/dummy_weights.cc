// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/philox.h"
#include "runtime/model/weight_writer.h"
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

// Uniform between mean - reach and mean + reach.
struct Range {
  float mean;
  float reach;
};

// Columns [begin, begin + out.size()) of a row. A Philox block gives four columns.
void FillRow(uint64_t key, int64_t row, int64_t begin, Range range, std::span<float> out) {
  int64_t column = begin;
  size_t i = 0;
  while (i < out.size()) {
    const PhiloxBlock block =
        Philox(key, static_cast<uint64_t>(column / 4), static_cast<uint64_t>(row));
    for (int64_t word = column % 4; word < 4 && i < out.size(); ++word, ++column, ++i) {
      out[i] = range.mean + range.reach * (2.0f * UniformOpen(block.word[word]) - 1.0f);
    }
  }
}

}  // namespace

void FillDummyWeights(const ModelConfig& config, const ModelShard& shard, uint64_t seed,
                      ModelWeights& weights, const Stream& stream) {
  WeightWriter writer(weights.buffer.device(), stream);
  std::vector<float> values;
  for (const WeightPiece& piece : WeightPieces(config, shard, weights)) {
    const bool norm = piece.full_shape.rank() == 1;
    // A uniform distribution of reach sqrt(3) s has standard deviation s.
    const Range range =
        norm ? Range{1.0f, 0.1f}
             : Range{0.0f, std::sqrt(3.0f / static_cast<float>(piece.full_shape[1]))};
    const uint64_t key = seed * 0x9e3779b97f4a7c15u ^ HashName(piece.name);
    values.resize(static_cast<size_t>(piece.columns.count));
    const size_t row_bytes = values.size() * DTypeBytes(weights.dtype);
    writer.Write(piece.target, [&](int64_t first_row, int64_t num_rows, std::byte* out) {
      for (int64_t row = first_row; row < first_row + num_rows; ++row, out += row_bytes) {
        FillRow(key, piece.rows.begin + row, piece.columns.begin, range, values);
        StoreFloats(values, weights.dtype, out);
      }
    });
  }
}

}  // namespace tamis
