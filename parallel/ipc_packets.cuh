// SPDX-License-Identifier: Apache-2.0
// The protocol of an IpcChannel. Data travel in packets of 16 bytes, two words of 8 that each hold
// 4 bytes of data and the round's number, so that a word that has arrived says so itself and no
// fence, flag or second trip is needed (the idea is NCCL's LL protocol). It doubles the bytes,
// which at these sizes cost less than a trip.
//
// Every call is one round on every rank. Slots are double-buffered by the round's parity: a rank
// writes for round n + 2 only after its own round n + 1 has ended, for which it had packets of all
// peers, which sent them after their round n had ended, in which they read what is overwritten.
// So every kernel must wait for at least one packet of every peer. Rounds are counted on the
// device, so that a graph's replays count on.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/launch.cuh"
#include "parallel/ipc_channel.h"

namespace tamis::cuda {

constexpr int kIpcThreads = 256;  // of elementwise kernels, twice that at most; a vec for each

struct alignas(16) Packet {
  uint64_t first, second;  // each round << 32 | data
};

__device__ __forceinline__ void StorePacket(Packet* to, uint32_t first, uint32_t second,
                                            uint32_t round) {
  const uint64_t high = uint64_t{round} << 32;
  asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(high | first),
               "l"(high | second)
               : "memory");
}

__device__ __forceinline__ Packet LoadPacket(const Packet* from) {
  Packet packet;
  asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];"
               : "=l"(packet.first), "=l"(packet.second)
               : "l"(from)
               : "memory");
  return packet;
}

__device__ __forceinline__ bool Arrived(const Packet& packet, uint32_t round) {
  return static_cast<uint32_t>(packet.first >> 32) == round &&
         static_cast<uint32_t>(packet.second >> 32) == round;
}

__device__ __forceinline__ uint64_t NanosecondsNow() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

// One kernel's round on the channel.
class Round {
 public:
  // After AwaitPredecessor().
  __device__ Round(const IpcView& view, IpcCall call) : view_(view), call_(call) {
    number_ = view.rounds[blockIdx.x] + 1;
    if (number_ == 0) number_ = 2;  // never the zeros of fresh memory; the parity goes on
  }

  __device__ uint32_t number() const { return number_; }
  __device__ int rank() const { return view_.rank; }
  __device__ int size() const { return view_.size; }

  // Where rank `from` writes on rank `to`.
  __device__ Packet* Slot(int to, int from) const {
    const size_t slot = (number_ & 1) * static_cast<size_t>(view_.size) + from;
    return reinterpret_cast<Packet*>(view_.inboxes[to] + slot * view_.slot_bytes);
  }

  // Waits until the packets, read from `at` on (32 apart), which rank `peer` writes, have arrived.
  template <int kPackets>
  __device__ __forceinline__ void Await(Packet (&packets)[kPackets], const Packet* at,
                                        int peer) const {
    // Bounded in time, not in polls: where ranks share a GPU, the peer runs in another time slice.
    constexpr uint32_t kPollsPerLook = 256;
    uint64_t start = 0;
    for (uint32_t polls = 0; !AllArrived(packets); ++polls) {
#pragma unroll
      for (int i = 0; i < kPackets; ++i) packets[i] = LoadPacket(at + i * 32);
      if (polls % kPollsPerLook != kPollsPerLook - 1) continue;
      const uint64_t now = NanosecondsNow();
      if (start == 0) start = now;
      if (now - start > view_.timeout_ns) Fail(peer);
    }
  }

  // The last thing of every thread. Blocks count for those that this grid lacks, so that the next
  // kernel may have any number of blocks.
  __device__ void End() const {
    __syncthreads();
    for (unsigned b = blockIdx.x + threadIdx.x * gridDim.x; b < kIpcBlocksMax;
         b += blockDim.x * gridDim.x) {
      view_.rounds[b] = number_;
    }
  }

 private:
  template <int kPackets>
  __device__ __forceinline__ bool AllArrived(const Packet (&packets)[kPackets]) const {
    bool all = true;
#pragma unroll
    for (int i = 0; i < kPackets; ++i) all = all && Arrived(packets[i], number_);
    return all;
  }

  __device__ __forceinline__ void Fail(int peer) const {
    constexpr uint64_t kLingerNs = 2'000'000'000;  // the host's thread looks more often
    view_.fault->peer = peer;
    view_.fault->call = static_cast<int32_t>(call_);
    view_.fault->round = number_;
    __threadfence_system();
    view_.fault->set = 1;
    __threadfence_system();
    const uint64_t start = NanosecondsNow();
    while (NanosecondsNow() - start < kLingerNs) __nanosleep(1'000'000);
    __trap();
  }

  const IpcView& view_;
  uint32_t number_;
  IpcCall call_;
};

// A vector of 16 bytes is two packets. Those of a warp's 32 lanes lie side by side, so that each
// store instruction fills whole lines.
__device__ __forceinline__ int PacketOfVec(int vec) { return vec / 32 * 64 + vec % 32; }

__device__ __forceinline__ void SendVec(Packet* slot, int vec, const uint4& data, uint32_t round) {
  Packet* at = slot + PacketOfVec(vec);
  StorePacket(at, data.x, data.y, round);
  StorePacket(at + 32, data.z, data.w, round);
}

// Sends a vec to all other ranks, the next one first, so that no rank is everybody's first.
template <int kRanks>
__device__ __forceinline__ void SendVecToAll(const Round& round, int vec, const uint4& data) {
#pragma unroll
  for (int step = 1; step < kRanks; ++step) {
    if (step >= round.size()) break;
    int to = round.rank() + step;
    if (to >= round.size()) to -= round.size();
    SendVec(round.Slot(to, round.rank()), vec, data, round.number());
  }
}

// parts[r] = rank r's vec, for r < size; this rank's own is `data`. All are asked for before the
// first is waited for.
template <int kRanks>
__device__ __forceinline__ void ReceiveVecs(const Round& round, int vec, const uint4& data,
                                            uint4 (&parts)[kRanks]) {
  Packet packets[kRanks][2];
  const Packet* slots = round.Slot(round.rank(), 0) + PacketOfVec(vec);
  const size_t stride = round.Slot(round.rank(), 1) - round.Slot(round.rank(), 0);
#pragma unroll
  for (int r = 0; r < kRanks; ++r) {
    if (r >= round.size() || r == round.rank()) continue;
    packets[r][0] = LoadPacket(slots + r * stride);
    packets[r][1] = LoadPacket(slots + r * stride + 32);
  }
#pragma unroll
  for (int r = 0; r < kRanks; ++r) {
    if (r >= round.size()) break;
    if (r == round.rank()) {
      parts[r] = data;
      continue;
    }
    round.Await(packets[r], slots + r * stride, r);
    parts[r] = make_uint4(static_cast<uint32_t>(packets[r][0].first),
                          static_cast<uint32_t>(packets[r][0].second),
                          static_cast<uint32_t>(packets[r][1].first),
                          static_cast<uint32_t>(packets[r][1].second));
  }
}

// The blocks of a kernel that are sure to run at once, whatever shared memory they take.
inline int IpcBlocksMax() {
  return std::min(kIpcBlocksMax, DeviceAttribute(cudaDevAttrMultiProcessorCount));
}

// Few vecs are spread over more blocks than they need: each block's own way to the link is short.
inline unsigned IpcThreadsFor(int64_t vecs) {
  if (vecs <= 32 * 64) return 64;
  return vecs <= int64_t{kIpcBlocksMax} * kIpcThreads ? kIpcThreads : 2 * kIpcThreads;
}

template <typename Kernel>
void LoadKernel(Kernel* kernel) {
  cudaFuncAttributes attributes = {};
  CheckCuda(cudaFuncGetAttributes(&attributes, kernel));
}

// Calls run(std::integral_constant<int, kRanks>) with the smallest kRanks >= size that is built.
template <typename Run>
void DispatchRanks(int size, Run&& run) {
  if (size <= 2) return run(std::integral_constant<int, 2>{});
  if (size <= 4) return run(std::integral_constant<int, 4>{});
  run(std::integral_constant<int, kIpcRanksMax>{});
}

}  // namespace tamis::cuda
