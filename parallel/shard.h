// SPDX-License-Identifier: Apache-2.0
// Which slice of the model is mine: pure arithmetic. Uneven shards are normal.
#pragma once

#include <cstdint>
#include <string>

namespace tamis {

struct Slice {
  int64_t begin = 0;
  int64_t count = 0;
  int64_t end() const { return begin + count; }
  bool operator==(const Slice&) const = default;
};

// The part of [0, total) that `rank` of `size` holds: contiguous, in rank order, sizes differing
// by at most one unit, the larger first. `unit` divides every boundary but the last.
Slice SplitEvenly(int64_t total, int rank, int size, int64_t unit = 1);

// Query and KV heads of one rank. Up to Nkv ranks, whole KV groups; above, the query heads of a
// group are split among the ranks that replicate its KV head.
struct HeadShard {
  Slice q_heads;
  Slice kv_heads;  // count 1 when a group is split
  // Ranks that hold (a part of) this rank's KV group; {rank, 1} when the group is whole here.
  Slice replicas;
  bool operator==(const HeadShard&) const = default;
};
HeadShard ShardHeads(int64_t num_q_heads, int64_t num_kv_heads, int rank, int size);

// Empty if this model can be split over `size` ranks, else one sentence that says why not and what
// is allowed.
std::string ShardProblem(int64_t num_q_heads, int64_t num_kv_heads, int64_t ffn, int64_t vocab,
                         int size);

// Everything of one rank.
struct ModelShard {
  int rank = 0;
  int size = 1;
  HeadShard heads;
  Slice ffn;
  Slice vocab;
  int64_t vocab_local_max = 0;  // the widest slice of any rank: the all-gather's padded width
};
ModelShard ShardModel(int64_t num_q_heads, int64_t num_kv_heads, int64_t ffn, int64_t vocab,
                      int rank, int size);

}  // namespace tamis
