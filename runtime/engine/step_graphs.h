// SPDX-License-Identifier: Apache-2.0
// CUDA graphs of whole decoding steps, captured at start-up. A step is padded to a bucket of rows,
// so that a bounded list of graphs serves every batch; what changes from step to step is read from
// the step's fixed inputs on the device.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/graph.h"
#include "runtime/model/step_input_buffers.h"

namespace tamis {

// Rows that a step of num_seqs decoding sequences is padded to where at most `num_slots` decode
// together: 1, 2, 4, 8, 16, 24, 32, then in wider steps, so that padding costs at most about a
// third. Collectives, products and graphs thus see few sizes.
int64_t DecodeBucket(int64_t num_seqs, int64_t num_slots);

// The buckets that are captured, ascending: those up to 512 rows.
std::vector<int64_t> CapturedBuckets(int64_t num_slots);

// The sizes that a step's lists of selected tokens may have: 0 (dense), then the buckets of
// SelectionBucket up to the limit.
std::vector<int64_t> SelectionBuckets(int64_t k_limit);

// Pads a step without prefill to its bucket, with launch grids for the longest context. Eager steps
// are padded alike, so a graph changes no bits.
void PadToBucket(const StepLimits& limits, HostStep* step);

using QueueStep = std::function<void(const StepInputs& inputs)>;

// Runs the largest prefill step, of padding alone, so that the first request does not wait for
// kernels to be loaded and algorithms to be chosen. Every rank does so.
void WarmUpPrefill(const StepLimits& limits, StepInputBuffers& buffers, int num_groups,
                   const Stream& stream, const QueueStep& queue);

class StepGraphs {
 public:
  using Log = std::function<void(const std::string& line)>;

  // No graphs: every step runs eagerly.
  StepGraphs() = default;

  // Runs `queue` once eagerly and once captured, for every pair of buckets, on steps that consist
  // of padding. Every rank does so in the same order. What `queue` works on outlives the graphs.
  StepGraphs(const StepLimits& limits, StepInputBuffers& buffers, int num_groups,
             const Stream& stream, const QueueStep& queue, const Log& log);

  // Null if no graph does this step's work. The inputs must be those of the same buffers.
  const Graph* Find(const StepInputs& inputs) const;

 private:
  struct Entry {
    int64_t num_rows;
    int64_t k_max;
    Graph graph;
  };
  std::vector<Entry> entries_;
};

}  // namespace tamis
