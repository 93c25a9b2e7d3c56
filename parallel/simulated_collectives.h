// SPDX-License-Identifier: Apache-2.0
// One rank of a bigger group without the others: shapes as in the group, no data from anybody else.
// For timing one rank's share of the work on one device; results mean nothing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "parallel/collectives.h"

namespace tamis {

// Whether the tensors are on the CPU or on the thread's current GPU, every call is capturable.
class SimulatedCollectives final : public Collectives {
 public:
  // How often each (name, bytes of one rank's tensor) was called; names as in latency tables:
  // "all_reduce", "all_gather", "exchange_top_k". A captured call counts once.
  using Calls = std::map<std::pair<std::string, size_t>, int64_t>;

  // Dies unless 0 <= rank < size.
  SimulatedCollectives(int rank, int size);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  bool capturable() const override { return true; }

  // Leaves x as it is: the sum of one. AllReduceAddRmsNorm adds and normalises besides.
  void AllReduce(TensorView x, ReduceOp op, const Stream& stream) override;
  // Every rank's part is this rank's x, so that what is gathered is what later ops expect.
  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override;
  // Merges this rank's list alone: the rest of a real exchange is in its latency.
  void ExchangeTopK(const TopKExchange& lists, const CandidateView& candidates, Slice peers,
                    Scratch& scratch, const Stream& stream) override;

  const Calls& calls() const { return calls_; }

 private:
  void Count(const char* name, size_t bytes) { ++calls_[{name, bytes}]; }

  int rank_;
  int size_;
  Calls calls_;
};

}  // namespace tamis
