// SPDX-License-Identifier: Apache-2.0
// Cases as token ids, before a model is there, so that the cache can be sized for them; and what
// prefilling makes of them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "launcher/lab/experiment.h"

namespace tamis {

struct PlannedCase {
  std::string name;
  std::string kind;  // kTextCase, or a task's name
  size_t prefix = 0;               // index of PlannedCases::prefixes
  int64_t fork_at = 0;             // tokens of the prefix that are used
  std::vector<int32_t> suffix;     // prefilled after them: a question
  std::vector<int32_t> inputs;     // then decoded
  std::vector<int32_t> targets;
};

struct PlannedCases {
  std::vector<std::vector<int32_t>> prefixes;
  std::vector<PlannedCase> cases;
};

// A case for each length that the text reaches: `decode_tokens` are decoded, and the sequence then
// has `context_len` tokens.
void PlanText(const std::string& name, const std::vector<int32_t>& tokens,
              const std::vector<int64_t>& context_lens, int64_t decode_tokens,
              PlannedCases* planned);

// Blocks of a cache in which all of `planned` and `rows_max` forks of `decode_tokens` have room.
int64_t BlocksOf(const PlannedCases& planned, int64_t block_tokens, int64_t rows_max,
                 int64_t decode_tokens);

// Prefilled. The sequences keep their addresses.
struct CaseSet {
  std::deque<LabSequence> sequences;
  std::vector<Case> cases;
};

// `progress` is told the tokens done.
CaseSet PrefillCases(Lab& lab, const PlannedCases& planned, int64_t watch_tokens,
                     const std::function<void(int64_t)>& progress);

// Tokens that PrefillCases prefills.
int64_t PrefillTokens(const PlannedCases& planned);

}  // namespace tamis
