// SPDX-License-Identifier: Apache-2.0
// Retrieval tasks made of a long text and a few sentences hidden in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/lab/case_set.h"
#include "runtime/tokenizer/tokenizer.h"

namespace tamis {

struct TaskOptions {
  int64_t context_len = 4096;  // tokens of the whole prompt, about
  int64_t samples = 8;         // of each kind
};

// Adds cases of three kinds, the same for the same options:
//   needle        one sentence with a number; asked for the number
//   multi_needle  four such sentences; asked for each
//   two_stage     a list of prices in pieces; asked for two of them and their sum, which the answer
//                 spells out step by step (after 2StageRetr of the OmniKV paper)
// `haystack` is the text around them, as tokens; it must be longer than the context.
absl::Status PlanTasks(const Tokenizer& tokenizer, const std::vector<int32_t>& haystack,
                       const TaskOptions& options, PlannedCases* planned);

}  // namespace tamis
