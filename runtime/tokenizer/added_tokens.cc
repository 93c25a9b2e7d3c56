// SPDX-License-Identifier: Apache-2.0
// See added_tokens.h. The order of passes and the treatment of white space follow what Hugging
// Face's library does, since ids must agree with it.
#include "runtime/tokenizer/added_tokens.h"

#include <algorithm>

#include "runtime/tokenizer/utf8.h"

namespace tamis {
namespace {

// Start of the white space that ends `text`.
size_t TrailingSpace(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
    if (!IsWhiteSpace(FrontUtf8(text.substr(start)).codepoint)) break;
    end = start;
  }
  return end;
}

// Length of the white space that begins `text`.
size_t LeadingSpace(std::string_view text) {
  size_t length = 0;
  while (length < text.size()) {
    const Utf8Char c = FrontUtf8(text.substr(length));
    if (!IsWhiteSpace(c.codepoint)) break;
    length += c.length;
  }
  return length;
}

}  // namespace

void AddedTokens::Trie::Add(const AddedToken& token) {
  uint32_t node = 0;
  for (const char c : token.text) {
    const auto [it, inserted] =
        edges_.emplace(uint64_t{node} << 8 | static_cast<uint8_t>(c), nodes_.size());
    if (inserted) nodes_.push_back(-1);
    node = it->second;
  }
  first_[static_cast<uint8_t>(token.text[0])] = true;
  nodes_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

const AddedToken* AddedTokens::Trie::Longest(std::string_view text) const {
  const AddedToken* longest = nullptr;
  uint32_t node = 0;
  for (const char c : text) {
    const auto it = edges_.find(uint64_t{node} << 8 | static_cast<uint8_t>(c));
    if (it == edges_.end()) break;
    node = it->second;
    if (nodes_[node] >= 0) longest = &tokens_[static_cast<size_t>(nodes_[node])];
  }
  return longest;
}

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens) {
  for (const AddedToken& token : tokens) (token.normalized ? normalized_ : exact_).Add(token);
}

void AddedTokens::SplitPiece(const Trie& trie, std::string_view text, bool parse_special,
                             std::vector<TextPiece>& out) {
  size_t done = 0;  // text before it has been given out
  size_t at = 0;
  while (at < text.size()) {
    const AddedToken* token = trie.MayStart(text[at]) ? trie.Longest(text.substr(at)) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t start = at;
    at += token->text.size();
    if (token->special && !parse_special) continue;
    if (token->lstrip) start = std::max(done, TrailingSpace(text.substr(0, start)));
    if (token->rstrip) at += LeadingSpace(text.substr(at));
    if (done < start) out.push_back({text.substr(done, start - done)});
    out.push_back({text.substr(start, at - start), token->id});
    done = at;
  }
  if (done < text.size()) out.push_back({text.substr(done)});
}

std::vector<TextPiece> AddedTokens::Split(std::string_view text, bool parse_special) const {
  std::vector<TextPiece> pieces;
  SplitPiece(exact_, text, parse_special, pieces);
  if (normalized_.empty()) return pieces;
  std::vector<TextPiece> finer;
  for (const TextPiece& piece : pieces) {
    if (piece.id >= 0) {
      finer.push_back(piece);
    } else {
      SplitPiece(normalized_, piece.text, parse_special, finer);
    }
  }
  return finer;
}

}  // namespace tamis
