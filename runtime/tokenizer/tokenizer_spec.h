// SPDX-License-Identifier: Apache-2.0
// What a tokenizer file says, in plain structs. Readers of the two file formats fill a
// RawTokenizer with the file's own strings; ResolveSpec turns those into bytes and ids.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace tamis {

// A step of pre-tokenisation: splits each piece of the step before it.
enum class SplitRule : uint8_t {
  kDigits,  // every numeric character stands alone
  kGpt2,    // the words of GPT-2
  kLlama3,  // the words of Llama 3
};

// A token matched in the text before pre-tokenisation.
struct AddedToken {
  int32_t id = -1;
  std::string text;
  bool special = false;     // matched only on request, skipped when decoding
  bool normalized = false;  // matched after the others
  bool lstrip = false;      // takes the white space before it along
  bool rstrip = false;      // and the white space behind it
};

struct RawTokenizer {
  std::vector<std::string> vocab;  // by id, bytes mapped to characters; "" where an id is unused
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::string unknown_token;  // stands for a byte without a token; "" = such bytes are dropped
  bool ignore_merges = false;
  std::vector<AddedToken> added;
  std::vector<SplitRule> splits;
  int32_t bos_id = -1;
  bool add_bos = false;
  std::vector<int32_t> eos_ids;
  std::string chat_template;
};

struct MergeRule {
  int32_t left, right, result;
};

struct TokenizerSpec {
  std::vector<std::string> tokens;    // [V] bytes
  std::vector<bool> is_special;       // [V]
  std::array<int32_t, 256> byte_ids;  // -1 = the vocabulary lacks the byte
  std::vector<MergeRule> merges;      // by rank
  // A word that is a token is taken whole, whether or not merges lead there (Llama 3).
  bool ignore_merges = false;
  std::vector<AddedToken> added;
  std::vector<SplitRule> splits;
  int32_t bos_id = -1;
  bool add_bos = false;
  std::vector<int32_t> eos_ids;
  std::string chat_template;
};

// Ids at or above this are refused: no vocabulary is that large, and tables are sized by id.
inline constexpr int64_t kMaxVocabSize = int64_t{1} << 22;

// INVALID_ARGUMENT, starting with `source`, when the parts do not fit together.
absl::StatusOr<TokenizerSpec> ResolveSpec(const std::string& source, RawTokenizer raw);

}  // namespace tamis
