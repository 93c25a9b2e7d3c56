// SPDX-License-Identifier: Apache-2.0
#include "launcher/lab/case_set.h"

#include <algorithm>

#include "kernels/check.h"

namespace tamis {
namespace {

// What is used of a prefix by any case.
std::vector<int64_t> UsedOfPrefixes(const PlannedCases& planned) {
  std::vector<int64_t> used(planned.prefixes.size(), 0);
  for (const PlannedCase& item : planned.cases) {
    used[item.prefix] = std::max(used[item.prefix], item.fork_at);
  }
  return used;
}

int64_t Count(const std::vector<int32_t>& tokens) { return static_cast<int64_t>(tokens.size()); }

}  // namespace

void PlanText(const std::string& name, const std::vector<int32_t>& tokens,
              const std::vector<int64_t>& context_lens, int64_t decode_tokens,
              PlannedCases* planned) {
  const size_t prefix = planned->prefixes.size();
  bool used = false;
  for (const int64_t context_len : context_lens) {
    const int64_t begin = context_len - decode_tokens;
    if (begin <= 0 || Count(tokens) <= context_len) continue;
    PlannedCase item;
    item.name = name;
    item.kind = kTextCase;
    item.prefix = prefix;
    item.fork_at = begin;
    item.inputs.assign(tokens.begin() + begin, tokens.begin() + context_len);
    item.targets.assign(tokens.begin() + begin + 1, tokens.begin() + context_len + 1);
    planned->cases.push_back(std::move(item));
    used = true;
  }
  if (used) planned->prefixes.push_back(tokens);
}

int64_t BlocksOf(const PlannedCases& planned, int64_t block_tokens, int64_t rows_max,
                 int64_t decode_tokens) {
  const auto blocks = [block_tokens](int64_t tokens) {
    return (tokens + block_tokens - 1) / block_tokens;
  };
  int64_t sum = rows_max * (blocks(decode_tokens) + 2);
  for (const int64_t used : UsedOfPrefixes(planned)) sum += blocks(used);
  for (const PlannedCase& item : planned.cases) {
    if (!item.suffix.empty()) sum += blocks(Count(item.suffix)) + 1;
  }
  return sum;
}

int64_t PrefillTokens(const PlannedCases& planned) {
  int64_t sum = 0;
  for (const int64_t used : UsedOfPrefixes(planned)) sum += used;
  for (const PlannedCase& item : planned.cases) sum += Count(item.suffix);
  return sum;
}

CaseSet PrefillCases(Lab& lab, const PlannedCases& planned, int64_t watch_tokens,
                     const std::function<void(int64_t)>& progress) {
  CaseSet set;
  int64_t done = 0;
  const std::vector<int64_t> used = UsedOfPrefixes(planned);
  const auto prefill = [&](LabSequence& sequence, std::span<const int32_t> tokens) {
    lab.Prefill(sequence, tokens);
    lab.stream().Synchronize();
    done += static_cast<int64_t>(tokens.size());
    if (progress) progress(done);
  };
  for (size_t i = 0; i < planned.prefixes.size(); ++i) {
    prefill(set.sequences.emplace_back(),
            std::span(planned.prefixes[i]).first(static_cast<size_t>(used[i])));
  }
  for (const PlannedCase& item : planned.cases) {
    const std::vector<int32_t>& prefix = planned.prefixes[item.prefix];
    std::vector<int32_t> history(prefix.begin(), prefix.begin() + item.fork_at);
    history.insert(history.end(), item.suffix.begin(), item.suffix.end());
    Case made;
    made.name = item.name;
    made.kind = item.kind;
    made.begin = Count(history);
    made.prefix = &set.sequences[item.prefix];
    if (!item.suffix.empty()) {
      set.sequences.push_back(lab.Fork(*made.prefix, item.fork_at));
      made.prefix = &set.sequences.back();
      prefill(set.sequences.back(), item.suffix);
    }
    CHECK_GE(made.begin, watch_tokens) << item.name << " is too short to be watched";
    made.before.assign(history.end() - watch_tokens, history.end());
    made.inputs = item.inputs;
    made.targets = item.targets;
    set.cases.push_back(std::move(made));
  }
  return set;
}

}  // namespace tamis
