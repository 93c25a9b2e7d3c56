// SPDX-License-Identifier: Apache-2.0
// ResolveTokens and StoreSlotTokens: a step's input tokens from the host or from the step before.
#include "kernels/backends.h"
#include "kernels/cuda/launch.cuh"

namespace tamis::cuda {
namespace {

constexpr unsigned kThreads = 256;

__global__ void ResolveTokensKernel(int32_t* out, const int32_t* token_ids,
                                    const int32_t* from_slot, const int32_t* slot_tokens,
                                    int tokens) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= tokens) return;
  const int slot = from_slot[t];
  out[t] = slot >= 0 ? slot_tokens[slot] : token_ids[t];
}

__global__ void StoreSlotTokensKernel(int32_t* slot_tokens, const int32_t* slots,
                                      const int32_t* tokens, int sequences) {
  AwaitPredecessor();
  ReleaseSuccessor();
  const int s = blockIdx.x * blockDim.x + threadIdx.x;
  if (s >= sequences) return;
  const int slot = slots[s];
  if (slot >= 0) slot_tokens[slot] = tokens[s];
}

unsigned Blocks(int64_t items) { return static_cast<unsigned>(CeilDiv(items, kThreads)); }

}  // namespace

void ResolveTokens(TensorView out, ConstTensorView token_ids, ConstTensorView from_slot,
                   ConstTensorView slot_tokens, const Stream& stream) {
  const int64_t tokens = out.shape[0];
  Launch(ResolveTokensKernel, Grid(Blocks(tokens), kThreads), stream, out.As<int32_t>(),
         token_ids.As<int32_t>(), from_slot.As<int32_t>(), slot_tokens.As<int32_t>(), tokens);
}

void StoreSlotTokens(TensorView slot_tokens, ConstTensorView slots, ConstTensorView tokens,
                     const Stream& stream) {
  const int64_t sequences = slots.shape[0];
  Launch(StoreSlotTokensKernel, Grid(Blocks(sequences), kThreads), stream,
         slot_tokens.As<int32_t>(), slots.As<int32_t>(), tokens.As<int32_t>(), sequences);
}

}  // namespace tamis::cuda
