// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/step_graphs.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "kernels/check.h"

namespace tamis {
namespace {

constexpr int64_t kCapturedRowsMax = 512;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// A step of padding alone, whose selection has lists of k_max.
HostStep PaddingStep(const StepLimits& limits, int num_groups, int64_t num_rows, int64_t k_max) {
  HostStep step;
  step.groups.resize(static_cast<size_t>(num_groups));
  step.table_width = 1;
  step.context_len_bound = limits.context_len_max;
  step.PadDecodes(num_rows);
  // Nothing competes, whatever k is.
  for (SelectionPlan& plan : step.selection) plan.k = static_cast<int32_t>(k_max);
  return step;
}

}  // namespace

int64_t DecodeBucket(int64_t num_seqs, int64_t num_slots) {
  CHECK(num_seqs > 0 && num_seqs <= num_slots) << num_seqs << " of " << num_slots << " slots";
  int64_t bucket = 1;
  while (bucket < num_seqs && bucket < 8) bucket *= 2;
  if (num_seqs > 8) bucket = RoundUp(num_seqs, 8);
  if (num_seqs > 32) bucket = RoundUp(num_seqs, 16);
  if (num_seqs > 64) bucket = RoundUp(num_seqs, 32);
  if (num_seqs > 256) bucket = RoundUp(num_seqs, 64);
  return std::min(bucket, num_slots);
}

std::vector<int64_t> CapturedBuckets(int64_t num_slots) {
  std::vector<int64_t> buckets;
  for (int64_t rows = 1; rows <= std::min(num_slots, kCapturedRowsMax); ++rows) {
    const int64_t bucket = DecodeBucket(rows, num_slots);
    if (buckets.empty() || buckets.back() != bucket) buckets.push_back(bucket);
  }
  return buckets;
}

std::vector<int64_t> SelectionBuckets(int64_t k_limit) {
  std::vector<int64_t> buckets = {0};
  while (buckets.back() < k_limit) {
    buckets.push_back(SelectionBucket(buckets.back() + 1, k_limit));
  }
  return buckets;
}

void PadToBucket(const StepLimits& limits, HostStep* step) {
  const auto num_seqs = static_cast<int64_t>(step->decode_context_lens.size());
  step->context_len_bound = limits.context_len_max;
  step->PadDecodes(DecodeBucket(num_seqs, limits.num_slots));
}

void WarmUpPrefill(const StepLimits& limits, StepInputBuffers& buffers, int num_groups,
                   const Stream& stream, const QueueStep& queue) {
  const int64_t num_tokens = std::min(limits.num_tokens_max, limits.context_len_max);
  const auto count = static_cast<size_t>(num_tokens);
  HostStep step = PaddingStep(limits, num_groups, 1, 0);
  // The padding row becomes the first of a chunk that is stored nowhere.
  step.decode_context_lens.clear();
  step.selection.clear();
  step.context_len_bound = 0;
  step.table_width = buffers.blocks_max();
  step.token_ids.resize(count, 0);
  step.from_slot.resize(count, -1);
  step.positions.resize(count, 0);
  for (HostStep::Group& group : step.groups) {
    group.token_slots.resize(count, -1);
    group.block_table.resize(static_cast<size_t>(step.table_width), 0);
  }
  step.prefill_query_starts = {0, static_cast<int32_t>(num_tokens)};
  step.prefill_context_lens = {static_cast<int32_t>(num_tokens)};
  queue(buffers.Upload(step, stream));
  stream.Synchronize();
}

StepGraphs::StepGraphs(const StepLimits& limits, StepInputBuffers& buffers, int num_groups,
                       const Stream& stream, const QueueStep& queue, const Log& log) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<int64_t> row_buckets = CapturedBuckets(limits.num_slots);
  const std::vector<int64_t> k_buckets = SelectionBuckets(limits.selection.k_max);
  entries_.reserve(row_buckets.size() * k_buckets.size());
  // The largest first: a failure to fit shows at once.
  for (auto rows = row_buckets.rbegin(); rows != row_buckets.rend(); ++rows) {
    for (auto k = k_buckets.rbegin(); k != k_buckets.rend(); ++k) {
      const StepInputs& inputs =
          buffers.Upload(PaddingStep(limits, num_groups, *rows, *k), stream);
      CHECK_EQ(inputs.selection.k_max, *k);
      queue(inputs);
      stream.Synchronize();
      entries_.push_back({*rows, *k, Graph::Capture(stream, [&] { queue(inputs); })});
    }
    stream.Synchronize();
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log("captured " + std::to_string(entries_.size()) + " CUDA graphs, for up to " +
      std::to_string(row_buckets.back()) + " sequences, in " +
      std::to_string(static_cast<int64_t>(seconds * 1000)) + " ms");
}

const Graph* StepGraphs::Find(const StepInputs& inputs) const {
  if (inputs.num_prefill_seqs > 0 || inputs.num_top_logprobs > 0) return nullptr;
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) {
    return e.num_rows == inputs.num_decode_seqs && e.k_max == inputs.selection.k_max;
  });
  return entry == entries_.end() ? nullptr : &entry->graph;
}

}  // namespace tamis
