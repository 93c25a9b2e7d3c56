// SPDX-License-Identifier: Apache-2.0
// Memory that the GPUs of one host write into each other, and what kernels need to use it. Plain
// C++: kernels see IpcView (ipc_packets.cuh has the protocol). Private to parallel/ and its tests.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/device.h"
#include "parallel/control.h"

namespace tamis {

constexpr int kIpcRanksMax = 8;     // the GPUs of one NVLink domain on one host
constexpr int kIpcBlocksMax = 128;  // of a kernel that uses the channel: all must run at once

// What a kernel that waited too long leaves behind for the host, in pinned memory.
struct IpcFault {
  volatile uint32_t set;  // written last
  volatile uint32_t round;
  volatile int32_t peer;
  volatile int32_t call;  // IpcCall
};

enum class IpcCall : int32_t { kAllReduce, kAllReduceAddRmsNorm, kAllGather, kExchangeTopK };

// What the weakest of the ranks' GPUs has: what a call does must not differ between ranks.
struct IpcLimits {
  int32_t multiprocessors;
  int32_t shared_bytes;  // of a block
};

// A rank's view of the channel, passed to kernels by value.
struct IpcView {
  std::byte* inboxes[kIpcRanksMax];  // of each rank, as mapped here: [2, W, slot_bytes]
  uint32_t* rounds;                  // [kIpcBlocksMax] in this rank's memory, all equal
  IpcFault* fault;
  uint64_t timeout_ns;
  uint32_t slot_bytes;
  int rank;
  int size;
};

// Owns this rank's inbox and the mappings of the others'. A thread of its own turns a fault into
// the process's last message.
class IpcChannel {
 public:
  // Collective. nullptr, on every rank alike, unless all ranks are processes of one host, at most
  // kIpcRanksMax, whose GPUs reach each other (ranks may share a GPU).
  static std::unique_ptr<IpcChannel> Open(Control& control, size_t slot_bytes);
  ~IpcChannel();
  IpcChannel(const IpcChannel&) = delete;
  IpcChannel& operator=(const IpcChannel&) = delete;

  // Bounded by the control's timeout as it is now.
  IpcView view() const;
  const IpcLimits& limits() const { return limits_; }
  const Control& control() const { return control_; }

 private:
  IpcChannel(Control& control, size_t slot_bytes);
  bool MapPeers();
  void Watch();

  Control& control_;
  size_t slot_bytes_;
  Buffer inbox_;                    // [2, W, slot_bytes]
  Buffer rounds_;                   // u32 [kIpcBlocksMax]
  Buffer fault_;                    // IpcFault
  std::vector<std::byte*> mapped_;  // [W], this rank's own included
  IpcLimits limits_ = {};
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false;  // guarded by mutex_
  std::thread watch_;
};

}  // namespace tamis
