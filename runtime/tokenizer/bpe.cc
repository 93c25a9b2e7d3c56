// SPDX-License-Identifier: Apache-2.0
// See bpe.h. Nearly all words are short, where a scan for the best pair beats a heap; both paths
// pick pairs in the same order.
#include "runtime/tokenizer/bpe.h"

#include <algorithm>
#include <array>
#include <functional>
#include <queue>
#include <utility>

namespace tamis {
namespace {

constexpr size_t kShortWord = 40;  // symbols; beyond it the quadratic scan loses to the heap

}  // namespace

Bpe::Bpe(const TokenizerSpec& spec) : spec_(spec) {
  merges_.reserve(spec.merges.size());
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const MergeRule& rule = spec.merges[rank];
    // A pair listed twice has its later rank, as in Hugging Face's map.
    merges_[Key(rule.left, rule.right)] = {static_cast<uint32_t>(rank), rule.result};
  }
  if (!spec.ignore_merges) return;
  words_.reserve(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    // Special tokens are never made from plain text.
    if (!spec.is_special[id]) words_.emplace(spec.tokens[id], static_cast<int32_t>(id));
  }
}

void Bpe::Encode(std::string_view word, std::vector<int32_t>& out) const {
  if (spec_.ignore_merges) {
    if (const auto it = words_.find(word); it != words_.end()) {
      out.push_back(it->second);
      return;
    }
  }
  if (word.size() <= kShortWord) {
    EncodeShort(word, out);
  } else {
    EncodeLong(word, out);
  }
}

void Bpe::EncodeShort(std::string_view word, std::vector<int32_t>& out) const {
  std::array<int32_t, kShortWord> ids;
  std::array<Merge, kShortWord> merges;  // merges[i] joins ids[i] and ids[i + 1]
  size_t n = 0;
  for (const char byte : word) {
    const int32_t id = spec_.byte_ids[static_cast<uint8_t>(byte)];
    if (id >= 0) ids[n++] = id;
  }
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = Find(ids[i], ids[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoMerge.rank) break;
    ids[best] = merges[best].result;
    std::copy(ids.begin() + best + 2, ids.begin() + n, ids.begin() + best + 1);
    std::copy(merges.begin() + best + 1, merges.begin() + n - 1, merges.begin() + best);
    --n;
    if (best > 0) merges[best - 1] = Find(ids[best - 1], ids[best]);
    if (best + 1 < n) merges[best] = Find(ids[best], ids[best + 1]);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + n);
}

void Bpe::EncodeLong(std::string_view word, std::vector<int32_t>& out) const {
  constexpr uint32_t kNone = UINT32_MAX;
  struct Symbol {
    int32_t id;
    uint32_t previous, next;
    Merge merge;  // with the next symbol
  };
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char byte : word) {
    const int32_t id = spec_.byte_ids[static_cast<uint8_t>(byte)];
    const auto at = static_cast<uint32_t>(symbols.size());
    if (id >= 0) symbols.push_back({id, at - 1, at + 1, kNoMerge});  // at - 1 is kNone at first
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;

  // Rank above, position below. An entry is out of date when the pair there has another rank now.
  std::vector<uint64_t> entries;
  const auto entry = [&](uint32_t at) { return uint64_t{symbols[at].merge.rank} << 32 | at; };
  const auto find_merge = [&](uint32_t at) {
    Symbol& left = symbols[at];
    left.merge = left.next == kNone ? kNoMerge : Find(left.id, symbols[left.next].id);
    return left.merge.rank != kNoMerge.rank;
  };
  for (uint32_t at = 0; at < symbols.size(); ++at) {
    if (find_merge(at)) entries.push_back(entry(at));
  }
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue(std::greater<>(),
                                                                             std::move(entries));
  while (!queue.empty()) {
    const uint64_t best = queue.top();
    queue.pop();
    const auto at = static_cast<uint32_t>(best);
    if (entry(at) != best) continue;
    Symbol& left = symbols[at];
    Symbol& right = symbols[left.next];
    left.id = left.merge.result;
    left.next = right.next;
    right.merge = kNoMerge;
    if (left.next != kNone) symbols[left.next].previous = at;
    if (left.previous != kNone && find_merge(left.previous)) queue.push(entry(left.previous));
    if (find_merge(at)) queue.push(entry(at));
  }
  for (uint32_t at = 0; at != kNone; at = symbols[at].next) out.push_back(symbols[at].id);
}

}  // namespace tamis
