// SPDX-License-Identifier: Apache-2.0
#include "parallel/collectives.h"

#include "kernels/ops.h"
#include "parallel/top_k_exchange.h"

namespace tamis {

void Collectives::AllReduceAddRmsNorm(TensorView out,          // float [T, H]
                                      TensorView residual,     // float [T, H]
                                      TensorView x,            // float [T, H]
                                      ConstTensorView weight,  // float [H]
                                      float eps, const Stream& stream) {
  AllReduce(x, ReduceOp::kSum, stream);
  ops::AddRmsNorm(out, residual, x, weight, eps, stream);
}

void Collectives::ExchangeTopK(const TopKExchange& lists, const CandidateView& candidates,
                               Slice peers, Scratch& scratch, const Stream& stream) {
  AllGather(lists.gathered_positions, lists.local_positions, stream);
  AllGather(lists.gathered_scores, lists.local_scores, stream);
  ops::MergeTopK(lists.positions, lists.count,
                 Rows(lists.gathered_positions, peers.begin, peers.count),
                 Rows(lists.gathered_scores, peers.begin, peers.count), candidates, scratch,
                 stream);
}

}  // namespace tamis
