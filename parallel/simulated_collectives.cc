// SPDX-License-Identifier: Apache-2.0
#include "parallel/simulated_collectives.h"

#include <cstddef>

#include "kernels/check.h"
#include "kernels/ops.h"
#include "parallel/top_k_exchange.h"

namespace tamis {

SimulatedCollectives::SimulatedCollectives(int rank, int size) : rank_(rank), size_(size) {
  CHECK(rank >= 0 && rank < size) << "rank " << rank << " of " << size;
}

void SimulatedCollectives::AllReduce(TensorView x, ReduceOp, const Stream&) {
  CHECK(x.contiguous()) << "all-reduce of a strided tensor";
  Count("all_reduce", x.bytes());
}

void SimulatedCollectives::AllGather(TensorView out, ConstTensorView x, const Stream& stream) {
  CHECK(out.contiguous() && x.contiguous() && out.elements() == x.elements() * size_)
      << "all-gather of " << x.shape.ToString() << " into " << out.shape.ToString();
  Count("all_gather", x.bytes());
  for (int w = 0; w < size_ && !x.empty(); ++w) {
    std::byte* part = static_cast<std::byte*>(out.data) + static_cast<size_t>(w) * x.bytes();
    CopyBytes(part, out.device, x.data, x.device, x.bytes(), stream);
  }
}

void SimulatedCollectives::ExchangeTopK(const TopKExchange& lists, const CandidateView& candidates,
                                        Slice, Scratch& scratch, const Stream& stream) {
  Count("exchange_top_k", lists.local_positions.bytes() + lists.local_scores.bytes());
  const auto alone = [](const ConstTensorView& x) { return Reshape(x, {1, x.elements()}); };
  ops::MergeTopK(lists.positions, lists.count, alone(lists.local_positions),
                 alone(lists.local_scores), candidates, scratch, stream);
}

}  // namespace tamis
