// SPDX-License-Identifier: Apache-2.0
#include "parallel/shard.h"

#include <algorithm>

#include "kernels/check.h"

namespace tamis {
namespace {

// The KV group of one rank when there are more ranks than groups, and the ranks that share it.
struct GroupShare {
  int64_t group = 0;
  Slice ranks;
};

// Every group gets size / groups ranks; the last size % groups of them one more.
GroupShare ShareOf(int64_t groups, int rank, int size) {
  const int64_t ranks_each = size / groups;
  const int64_t plain_groups = groups - size % groups;
  const int64_t plain_ranks = plain_groups * ranks_each;
  if (rank < plain_ranks) {
    const int64_t group = rank / ranks_each;
    return {group, {group * ranks_each, ranks_each}};
  }
  const int64_t later = (rank - plain_ranks) / (ranks_each + 1);
  return {plain_groups + later, {plain_ranks + later * (ranks_each + 1), ranks_each + 1}};
}

}  // namespace

Slice SplitEvenly(int64_t total, int rank, int size, int64_t unit) {
  CHECK(rank >= 0 && rank < size) << "rank " << rank << " of " << size;
  CHECK(total >= 0 && unit >= 1) << "total " << total << ", unit " << unit;
  const int64_t units = (total + unit - 1) / unit;  // the last may be cut short
  const int64_t each = units / size;
  const int64_t larger = units % size;  // this many ranks hold one unit more
  const int64_t begin = rank * each + std::min<int64_t>(rank, larger);
  const int64_t end = begin + each + (rank < larger ? 1 : 0);
  const int64_t begin_item = std::min(begin * unit, total);
  return {begin_item, std::min(end * unit, total) - begin_item};
}

HeadShard ShardHeads(int64_t num_q_heads, int64_t num_kv_heads, int rank, int size) {
  const std::string problem =
      ShardProblem(num_q_heads, num_kv_heads, /*ffn=*/size, /*vocab=*/size, size);
  CHECK(problem.empty()) << problem;
  CHECK(rank >= 0 && rank < size) << "rank " << rank << " of " << size;
  const int64_t heads_per_group = num_q_heads / num_kv_heads;
  if (size <= num_kv_heads) {
    const Slice kv = SplitEvenly(num_kv_heads, rank, size);
    return {{kv.begin * heads_per_group, kv.count * heads_per_group}, kv, {rank, 1}};
  }
  const GroupShare share = ShareOf(num_kv_heads, rank, size);
  Slice q = SplitEvenly(heads_per_group, static_cast<int>(rank - share.ranks.begin),
                        static_cast<int>(share.ranks.count));
  q.begin += share.group * heads_per_group;
  return {q, {share.group, 1}, share.ranks};
}

std::string ShardProblem(int64_t num_q_heads, int64_t num_kv_heads, int64_t ffn, int64_t vocab,
                         int size) {
  if (num_q_heads < 1 || num_kv_heads < 1 || num_q_heads % num_kv_heads != 0) {
    return "cannot shard " + std::to_string(num_q_heads) + " query heads over " +
           std::to_string(num_kv_heads) +
           " KV heads: both must be positive and the KV heads must divide the query heads";
  }
  const int64_t ranks_max = std::min({num_q_heads, ffn, vocab});
  if (size >= 1 && size <= ranks_max) return "";
  std::string limit = "query heads";
  if (ranks_max < num_q_heads) limit = ranks_max == ffn ? "FFN rows" : "vocabulary rows";
  return "cannot split this model over " + std::to_string(size) + " ranks: it has " +
         std::to_string(ranks_max) + " " + limit + ", so 1 to " + std::to_string(ranks_max) +
         " ranks are allowed";
}

ModelShard ShardModel(int64_t num_q_heads, int64_t num_kv_heads, int64_t ffn, int64_t vocab,
                      int rank, int size) {
  const std::string problem = ShardProblem(num_q_heads, num_kv_heads, ffn, vocab, size);
  CHECK(problem.empty()) << problem;
  ModelShard shard;
  shard.rank = rank;
  shard.size = size;
  shard.heads = ShardHeads(num_q_heads, num_kv_heads, rank, size);
  shard.ffn = SplitEvenly(ffn, rank, size);
  shard.vocab = SplitEvenly(vocab, rank, size);
  shard.vocab_local_max = SplitEvenly(vocab, /*rank=*/0, size).count;
  return shard;
}

}  // namespace tamis
