// SPDX-License-Identifier: Apache-2.0
// See bpe.h. Nearly all words are short, where a scan for the best pair beats a heap; both paths
// pick pairs in the same order.
#include "runtime/tokenizer/bpe.h"

#include <algorithm>
#include <array>
#include <queue>
#include <tuple>

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
  constexpr size_t kNone = SIZE_MAX;
  struct Symbol {
    int32_t id;  // -1 once joined to the symbol before it
    size_t previous, next;
  };
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char byte : word) {
    const int32_t id = spec_.byte_ids[static_cast<uint8_t>(byte)];
    if (id >= 0) symbols.push_back({id, symbols.size() - 1, symbols.size() + 1});
  }
  if (symbols.empty()) return;
  symbols.front().previous = kNone;
  symbols.back().next = kNone;

  struct Candidate {
    uint32_t rank;
    size_t at;
    int32_t left, right, result;
    bool operator>(const Candidate& o) const { return std::tie(rank, at) > std::tie(o.rank, o.at); }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](size_t at) {
    if (at == kNone || symbols[at].next == kNone) return;
    const int32_t left = symbols[at].id;
    const int32_t right = symbols[symbols[at].next].id;
    const Merge merge = Find(left, right);
    if (merge.rank != kNoMerge.rank) queue.push({merge.rank, at, left, right, merge.result});
  };
  for (size_t at = 0; at < symbols.size(); ++at) consider(at);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.at];
    // An entry whose symbols have changed since is out of date.
    if (left.id != best.left || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    if (right.id != best.right) continue;
    left.id = best.result;
    right.id = -1;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = best.at;
    consider(left.previous);
    consider(best.at);
  }
  for (size_t at = 0; at != kNone; at = symbols[at].next) out.push_back(symbols[at].id);
}

}  // namespace tamis
