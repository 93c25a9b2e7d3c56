// SPDX-License-Identifier: Apache-2.0
// The kernels of an IpcChannel, one round each. Private to parallel/. Every rank must launch the
// same ones with equal shapes; callers keep within the channel's slots.
#pragma once

#include "kernels/device.h"
#include "kernels/selection.h"
#include "kernels/tensor.h"
#include "parallel/collectives.h"
#include "parallel/ipc_channel.h"
#include "parallel/shard.h"
#include "parallel/top_k_exchange.h"

namespace tamis::cuda {

constexpr size_t kIpcVecBytes = 16;
// The most that one round of AllReduce or AllGather carries: a vec for each of 512 threads of every
// block. In packets it fills a slot of twice the size.
constexpr size_t kIpcRoundBytes = kIpcVecBytes * kIpcBlocksMax * 512;
constexpr size_t kIpcSlotBytes = 2 * kIpcRoundBytes;

// Load the kernels for `size` ranks, so that no rank does so in the middle of its first round.
void IpcLoadReduceKernels(int size);
void IpcLoadGatherKernels(int size);
void IpcLoadExchangeKernels(int size, const IpcLimits& limits);

// x[0 .. items) = op over ranks, summed in rank order in float32. At most kIpcRoundBytes.
void IpcAllReduce(void* x, int64_t items, DType dtype, ReduceOp op, const IpcView& view,
                  const Stream& stream);

// True if IpcAllReduceAddRmsNorm takes rows like these.
bool IpcCanNorm(const TensorView& out, const TensorView& residual, const TensorView& x,
                const ConstTensorView& weight, const IpcLimits& limits);

// Collectives::AllReduceAddRmsNorm with the bits of its two parts. At most kIpcBlocksMax rows.
void IpcAllReduceAddRmsNorm(TensorView out, TensorView residual, ConstTensorView x,
                            ConstTensorView weight, float eps, const IpcView& view,
                            const Stream& stream);

// out + r * stride_bytes = rank r's x, `bytes` of each. At most kIpcRoundBytes.
void IpcAllGather(void* out, size_t stride_bytes, const void* x, size_t bytes, const IpcView& view,
                  const Stream& stream);

// Rows (one per sequence and selection head) of lists of k_max that one round of IpcExchangeTopK
// takes; 0 where so many lists do not fit a block.
int64_t IpcExchangeRowsMax(int64_t k_max, int ranks, const IpcLimits& limits);

// Collectives::ExchangeTopK: the bits of all-gather and ops::MergeTopK.
void IpcExchangeTopK(const TopKExchange& lists, const CandidateView& candidates, Slice peers,
                     const IpcView& view, const Stream& stream);

}  // namespace tamis::cuda
