// SPDX-License-Identifier: Apache-2.0
// Byte-pair merging: repeatedly joins the adjacent pair of lowest rank, leftmost first.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "runtime/tokenizer/tokenizer_spec.h"

namespace tamis {

// Immutable; refers to the tokens of `spec`, which must outlive it unmoved.
class Bpe {
 public:
  explicit Bpe(const TokenizerSpec& spec);
  Bpe(const Bpe&) = delete;
  Bpe& operator=(const Bpe&) = delete;

  // Appends the ids of one pre-token, shorter than 4 GiB. O(n log n) in its length.
  void Encode(std::string_view word, std::vector<int32_t>& out) const;

 private:
  struct Merge {
    uint32_t rank;
    int32_t result;
  };
  static constexpr Merge kNoMerge{UINT32_MAX, -1};

  Merge Find(int32_t left, int32_t right) const {
    const auto it = merges_.find(Key(left, right));
    return it == merges_.end() ? kNoMerge : it->second;
  }
  static uint64_t Key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  void EncodeShort(std::string_view word, std::vector<int32_t>& out) const;
  void EncodeLong(std::string_view word, std::vector<int32_t>& out) const;

  const TokenizerSpec& spec_;
  absl::flat_hash_map<uint64_t, Merge> merges_;
  absl::flat_hash_map<std::string_view, int32_t> words_;  // empty unless ignore_merges
};

}  // namespace tamis
