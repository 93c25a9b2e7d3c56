// SPDX-License-Identifier: Apache-2.0
// One rank of a bigger group without the others: shapes as in the group, no data from anybody else.
// For timing one rank's share of the work on one device; results mean nothing.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "parallel/collectives.h"

namespace tamis {

class SimulatedCollectives final : public Collectives {
 public:
  enum class Kind : uint8_t { kAllReduce, kAllGather };
  // How often each (kind, bytes of one rank's tensor) was called. A captured call counts once.
  using Calls = std::map<std::pair<Kind, size_t>, int64_t>;

  // Dies unless 0 <= rank < size.
  SimulatedCollectives(int rank, int size);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  bool capturable() const override { return true; }

  // Leaves x as it is: the sum of one.
  void AllReduce(TensorView x, ReduceOp op, const Stream& stream) override;
  // Every rank's part is this rank's x, so that what is gathered is what later ops expect.
  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override;

  const Calls& calls() const { return calls_; }
  void ClearCalls() { calls_.clear(); }

 private:
  int rank_;
  int size_;
  Calls calls_;
};

}  // namespace tamis
