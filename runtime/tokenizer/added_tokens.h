// SPDX-License-Identifier: Apache-2.0
// Finds added tokens in text: leftmost first, and of those that start together the longest.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "runtime/tokenizer/tokenizer_spec.h"

namespace tamis {

// A stretch of text, or one added token.
struct TextPiece {
  std::string_view text;
  int32_t id = -1;  // -1 = plain text
};

class AddedTokens {
 public:
  explicit AddedTokens(const std::vector<AddedToken>& tokens);

  // The pieces of `text`. Special tokens count as plain text without `parse_special`.
  std::vector<TextPiece> Split(std::string_view text, bool parse_special) const;

 private:
  // A trie over bytes, its edges in one hash map.
  class Trie {
   public:
    void Add(const AddedToken& token);
    bool empty() const { return nodes_.size() == 1; }
    bool MayStart(char byte) const { return first_[static_cast<uint8_t>(byte)]; }
    // The longest token at the front of `text`; null if none.
    const AddedToken* Longest(std::string_view text) const;

   private:
    std::array<bool, 256> first_{};
    std::vector<AddedToken> tokens_;
    std::vector<int32_t> nodes_ = {-1};  // index into tokens_ of the token that ends here, or -1
    absl::flat_hash_map<uint64_t, uint32_t> edges_;  // (node, byte) -> node
  };
  static void SplitPiece(const Trie& trie, std::string_view text, bool parse_special,
                         std::vector<TextPiece>& out);

  Trie exact_;       // matched first
  Trie normalized_;  // matched in what the first pass left as text
};

}  // namespace tamis
