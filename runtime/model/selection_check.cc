// SPDX-License-Identifier: Apache-2.0
// Sets and scores travel as host bytes, whatever device they were made on. Nothing here shares code
// with the ops it checks but the order of scores.
#include "runtime/model/selection_check.h"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/order_key.h"

namespace tamis {
namespace {

using Set = std::vector<int32_t>;

template <typename T>
std::vector<T> ToHost(const ConstTensorView& x, const Stream& stream) {
  std::vector<T> values(static_cast<size_t>(x.elements()));
  if (values.empty()) return values;
  CopyBytes(values.data(), DeviceKind::kCpu, x.data, x.device, x.bytes(), stream);
  stream.Synchronize();
  return values;
}

template <typename T>
std::string_view BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <typename T>
std::vector<T> FromBytes(const std::string& bytes) {
  CHECK_EQ(bytes.size() % sizeof(T), 0u);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

uint64_t HashOf(const Set& values) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const int32_t value : values) {
    hash = (hash ^ static_cast<uint32_t>(value)) * 0x100000001b3u;
  }
  return hash;
}

std::string Text(const Set& set) {
  std::ostringstream text;
  text << set.size() << " positions {";
  for (const int32_t position : set) text << ' ' << position;
  text << " }";
  return text.str();
}

[[noreturn]] void Differ(const FilterOutcome& outcome, size_t row, const Set& mine,
                         const std::string& whose, const Set& theirs) {
  Die("selection of layer " + std::to_string(outcome.layer_idx) + ", row " + std::to_string(row) +
      ": this rank selected " + Text(mine) + "; " + whose + " " + Text(theirs));
}

// The first k of [begin, end), ascending.
Set FirstInOrder(const float* scores, int32_t begin, int32_t end, int32_t k) {
  Set set;
  for (int32_t position = begin; position < end; ++position) set.push_back(position);
  std::sort(set.begin(), set.end(),
            [&](int32_t a, int32_t b) { return Precedes(scores[a], a, scores[b], b); });
  set.resize(std::min(set.size(), static_cast<size_t>(std::max(0, k))));
  std::sort(set.begin(), set.end());
  return set;
}

// One step's sets on the host, row by row: [S * Hs].
std::vector<Set> SetsOf(const FilterOutcome& outcome, const Stream& stream) {
  const ConstTensorView& lists = outcome.selection.positions;
  const std::vector<int32_t> positions = ToHost<int32_t>(lists, stream);
  const std::vector<int32_t> count = ToHost<int32_t>(outcome.selection.count, stream);
  const int64_t rows_per_seq = lists.shape[1];
  std::vector<Set> sets;
  for (int64_t row = 0; row < lists.shape[0] * rows_per_seq; ++row) {
    const auto first = positions.begin() + row * lists.shape[2];
    sets.emplace_back(first, first + count[static_cast<size_t>(row / rows_per_seq)]);
  }
  return sets;
}

void CheckSetsEqual(const FilterOutcome& outcome, const std::vector<Set>& sets, Control& control) {
  // A list per row, its length first.
  Set all;
  for (const Set& set : sets) {
    all.push_back(static_cast<int32_t>(set.size()));
    all.insert(all.end(), set.begin(), set.end());
  }
  const std::vector<uint64_t> hash{HashOf(all)};
  const std::vector<std::string> hashes = control.AllGather(BytesOf(hash));
  // A peer of any rank may differ, and every rank takes part in the second gather.
  if (std::all_of(hashes.begin(), hashes.end(), [&](const auto& h) { return h == hashes[0]; })) {
    return;
  }
  const std::vector<std::string> lists = control.AllGather(BytesOf(all));
  for (int64_t rank = outcome.peers.ranks.begin; rank < outcome.peers.ranks.end(); ++rank) {
    const Set theirs = FromBytes<int32_t>(lists[static_cast<size_t>(rank)]);
    size_t next = 0;
    for (size_t row = 0; row < sets.size() && theirs != all; ++row) {
      CHECK_LT(next, theirs.size());
      const auto first = theirs.begin() + static_cast<int64_t>(next) + 1;
      const Set set(first, first + theirs[next]);
      if (set != sets[row]) {
        Differ(outcome, row, sets[row], "rank " + std::to_string(rank), set);
      }
      next += 1 + set.size();
    }
  }
}

// The maximum over peers of each score, in the order of selection. Sums are equal on all peers.
std::vector<float> BestScores(const FilterOutcome& outcome, const Stream& stream,
                              Control& control) {
  std::vector<float> best = ToHost<float>(outcome.scores, stream);
  if (outcome.peers.exchange == SelectionExchange::kNone) return best;
  const std::vector<std::string> all = control.AllGather(BytesOf(best));
  for (int64_t rank = outcome.peers.ranks.begin; rank < outcome.peers.ranks.end(); ++rank) {
    const std::vector<float> theirs = FromBytes<float>(all[static_cast<size_t>(rank)]);
    CHECK_EQ(theirs.size(), best.size());
    for (size_t i = 0; i < best.size(); ++i) {
      if (OrderKey(theirs[i]) > OrderKey(best[i])) best[i] = theirs[i];
    }
  }
  return best;
}

void CheckSelection(const FilterOutcome& outcome, Control& control, const Stream& stream) {
  const std::vector<Set> sets = SetsOf(outcome, stream);
  if (outcome.peers.exchange != SelectionExchange::kNone) CheckSetsEqual(outcome, sets, control);

  const std::vector<float> best = BestScores(outcome, stream, control);
  const std::vector<int32_t> begin = ToHost<int32_t>(outcome.candidates.begin, stream);
  const std::vector<int32_t> end = ToHost<int32_t>(outcome.candidates.end, stream);
  const std::vector<int32_t> k = ToHost<int32_t>(outcome.candidates.k, stream);
  const size_t rows_per_seq = static_cast<size_t>(outcome.scores.shape[1]);
  const size_t score_len = static_cast<size_t>(outcome.scores.shape[2]);
  for (size_t row = 0; row < sets.size(); ++row) {
    const size_t s = row / rows_per_seq;
    const Set expected = FirstInOrder(best.data() + row * score_len, begin[s], end[s], k[s]);
    if (sets[row] != expected) {
      Differ(outcome, row, sets[row], "the first of all ranks' scores are", expected);
    }
  }
}

}  // namespace

SelectionObserver MakeSelectionCheck(Control& control) {
  return [&control](const FilterOutcome& outcome, const Stream& stream) {
    CheckSelection(outcome, control, stream);
  };
}

}  // namespace tamis
