// SPDX-License-Identifier: Apache-2.0
// Selection by the order of order_key.h, packed into one integer per candidate: the key above, the
// complement of the position below, so that "greater" is "precedes".
#include <algorithm>
#include <functional>
#include <limits>

#include "kernels/backends.h"
#include "kernels/check.h"
#include "kernels/order_key.h"

namespace tamis::cpu {
namespace {

uint64_t Pack(float score, int32_t position) {
  return uint64_t{OrderKey(score)} << 32 | ~static_cast<uint32_t>(position);
}
int32_t PositionOf(uint64_t packed) { return static_cast<int32_t>(~static_cast<uint32_t>(packed)); }

// The k greatest of n entries to the front, in ascending order of position.
void FirstByPosition(uint64_t* entries, int64_t n, int64_t k) {
  if (k < n) std::nth_element(entries, entries + k, entries + n, std::greater<>());
  std::sort(entries, entries + k,
            [](uint64_t a, uint64_t b) { return PositionOf(a) < PositionOf(b); });
}

struct Candidates {
  int64_t begin;
  int64_t end;
  int64_t k;  // clamped to what competes
};

Candidates CandidatesOf(const CandidateView& view, int64_t s, int64_t k_max) {
  Candidates row{view.begin.As<int32_t>()[s], view.end.As<int32_t>()[s], view.k.As<int32_t>()[s]};
  row.end = std::max(row.begin, row.end);
  CHECK(row.k >= 0 && row.k <= k_max) << "sequence " << s << ": k " << row.k << " of " << k_max;
  row.k = std::min(row.k, row.end - row.begin);
  return row;
}

}  // namespace

void TopK(TensorView positions, TensorView top_scores, TensorView count, ConstTensorView scores,
          const CandidateView& candidates, Scratch& scratch, const Stream&) {
  const int64_t selection_rows = scores.shape[1];
  const int64_t n_max = scores.shape[2];
  const int64_t k_max = positions.shape[2];
  const ScratchScope scope(scratch);
  uint64_t* entries = scratch.Take({n_max}, DType::kU64).As<uint64_t>();
  for (int64_t s = 0; s < scores.shape[0]; ++s) {
    const Candidates row = CandidatesOf(candidates, s, k_max);
    CHECK(row.begin == row.end || (row.begin >= 0 && row.end <= n_max))
        << "sequence " << s << ": candidates [" << row.begin << ", " << row.end << ")";
    count.As<int32_t>()[s] = static_cast<int32_t>(row.k);
    for (int64_t h = 0; h < selection_rows; ++h) {
      const float* from = scores.As<float>() + (s * selection_rows + h) * n_max;
      int32_t* to = positions.As<int32_t>() + (s * selection_rows + h) * k_max;
      float* to_scores = top_scores.As<float>() + (s * selection_rows + h) * k_max;
      for (int64_t j = row.begin; j < row.end; ++j) {
        entries[j - row.begin] = Pack(from[j], static_cast<int32_t>(j));
      }
      FirstByPosition(entries, row.end - row.begin, row.k);
      for (int64_t i = 0; i < row.k; ++i) {
        to[i] = PositionOf(entries[i]);
        to_scores[i] = from[to[i]] + 0.0f;  // -0 becomes +0
      }
      std::fill(to + row.k, to + k_max, -1);
      std::fill(to_scores + row.k, to_scores + k_max, -std::numeric_limits<float>::infinity());
    }
  }
}

void MergeTopK(TensorView positions, TensorView count, ConstTensorView list_positions,
               ConstTensorView list_scores, const CandidateView& candidates, Scratch& scratch,
               const Stream&) {
  const int64_t selection_rows = positions.shape[1];
  const int64_t k_max = positions.shape[2];
  const int64_t ranks = list_positions.shape[0];
  const int64_t rank_stride = list_positions.shape[1];
  const ScratchScope scope(scratch);
  uint64_t* entries = scratch.Take({ranks * k_max}, DType::kU64).As<uint64_t>();
  for (int64_t s = 0; s < positions.shape[0]; ++s) {
    const Candidates row = CandidatesOf(candidates, s, k_max);
    count.As<int32_t>()[s] = static_cast<int32_t>(row.k);
    for (int64_t h = 0; h < selection_rows; ++h) {
      const int64_t first = (s * selection_rows + h) * k_max;
      uint64_t* end = entries;
      for (int64_t w = 0; w < ranks; ++w) {
        const int32_t* list = list_positions.As<int32_t>() + w * rank_stride + first;
        const float* list_score = list_scores.As<float>() + w * rank_stride + first;
        for (int64_t i = 0; i < k_max; ++i) {
          if (list[i] >= 0) *end++ = Pack(list_score[i], list[i]);
        }
      }
      // Best entry first within a position, so that unique keeps the maximum.
      std::sort(entries, end, [](uint64_t a, uint64_t b) {
        return PositionOf(a) != PositionOf(b) ? PositionOf(a) < PositionOf(b) : a > b;
      });
      end = std::unique(entries, end,
                        [](uint64_t a, uint64_t b) { return PositionOf(a) == PositionOf(b); });
      CHECK_GE(end - entries, row.k) << "lists of sequence " << s << " are too short";
      FirstByPosition(entries, end - entries, row.k);
      int32_t* to = positions.As<int32_t>() + first;
      for (int64_t i = 0; i < row.k; ++i) to[i] = PositionOf(entries[i]);
      std::fill(to + row.k, to + k_max, -1);
    }
  }
}

}  // namespace tamis::cpu
