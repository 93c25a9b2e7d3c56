// SPDX-License-Identifier: Apache-2.0
// How tensors combine over ranks. One of the project's two virtual interfaces.
//
// Every rank calls the same methods in the same order with equal shapes and dtypes; results are
// bit-identical on every rank. Our own transports reduce in rank order (NCCL documents none).
// Work is queued on `stream`; a host transport completes before it returns.
#pragma once

#include "kernels/device.h"
#include "kernels/selection.h"
#include "kernels/tensor.h"
#include "parallel/shard.h"

namespace tamis {

class Scratch;
struct TopKExchange;

// kMax: a number beats NaN, as in kernels/order_key.h.
enum class ReduceOp : uint8_t { kSum, kMax };

class Collectives {
 public:
  virtual ~Collectives() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // True if the calls may be captured into a CUDA graph; otherwise steps run eagerly.
  virtual bool capturable() const = 0;

  // x = op over ranks of x, in place. f32, f16 or bf16, contiguous; accumulates in float32.
  virtual void AllReduce(TensorView x, ReduceOp op, const Stream& stream) = 0;

  // out[w] = rank w's x. Any dtype; x has the same (padded) shape on every rank. Contiguous.
  virtual void AllGather(TensorView out,  // [W, shape of x]
                         ConstTensorView x, const Stream& stream) = 0;

  // residual += sum over ranks of x; out = RmsNorm(residual). x is clobbered; out may alias x.
  // Composed of AllReduce and ops::AddRmsNorm unless the transport can fuse them.
  virtual void AllReduceAddRmsNorm(TensorView out,          // float [T, H]
                                   TensorView residual,     // float [T, H]
                                   TensorView x,            // float [T, H]
                                   ConstTensorView weight,  // float [H]
                                   float eps, const Stream& stream);

  // The first k of all peers' lists together: see TopKExchange. Composed of AllGather and
  // ops::MergeTopK unless the transport can fuse them.
  virtual void ExchangeTopK(const TopKExchange& lists, const CandidateView& candidates, Slice peers,
                            Scratch& scratch, const Stream& stream);
};

}  // namespace tamis
