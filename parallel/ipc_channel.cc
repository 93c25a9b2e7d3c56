// SPDX-License-Identifier: Apache-2.0
#include "parallel/ipc_channel.h"

#include <cuda_runtime_api.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "kernels/cuda/check_cuda.h"
#include "kernels/cuda/launch.cuh"

namespace tamis {
namespace {

// What ranks tell each other before they map: one boot of one host, processes of their own, what
// their GPUs have, and the handle of the inbox.
struct Invitation {
  std::array<char, 40> boot_id;
  int64_t process;
  IpcLimits limits;
  cudaIpcMemHandle_t handle;
};

// Distinguishes hosts also where their names are equal.
std::array<char, 40> BootId() {
  std::array<char, 40> id = {};
  if (FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "r")) {
    const size_t read = std::fread(id.data(), 1, id.size() - 1, file);
    std::fclose(file);
    if (read > 0) return id;
  }
  gethostname(id.data(), id.size() - 1);
  return id;
}

const char* NameOf(IpcCall call) {
  switch (call) {
    case IpcCall::kAllReduce: return "Collectives::AllReduce";
    case IpcCall::kAllReduceAddRmsNorm: return "Collectives::AllReduceAddRmsNorm";
    case IpcCall::kAllGather: return "Collectives::AllGather";
    case IpcCall::kExchangeTopK: return "Collectives::ExchangeTopK";
  }
  return "a collective";
}

}  // namespace

std::unique_ptr<IpcChannel> IpcChannel::Open(Control& control, size_t slot_bytes) {
  if (control.size() > kIpcRanksMax) return nullptr;
  std::unique_ptr<IpcChannel> channel(new IpcChannel(control, slot_bytes));
  if (!AllAgree(control, channel->MapPeers())) channel.reset();
  // Nobody unmaps or frees before all have mapped or given up, and nobody writes before that.
  Barrier(control);
  return channel;
}

IpcChannel::IpcChannel(Control& control, size_t slot_bytes)
    : control_(control),
      slot_bytes_(slot_bytes),
      inbox_(MemoryKind::kCuda, 2 * static_cast<size_t>(control.size()) * slot_bytes, "IPC inbox"),
      rounds_(MemoryKind::kCuda, kIpcBlocksMax * sizeof(uint32_t), "IPC rounds"),
      fault_(MemoryKind::kPinned, sizeof(IpcFault), "IPC fault"),
      mapped_(static_cast<size_t>(control.size())),
      watch_([this] { Watch(); }) {}

IpcChannel::~IpcChannel() {
  {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
  }
  end_.notify_all();
  watch_.join();
  for (std::byte* data : mapped_) {
    if (data != nullptr && data != inbox_.data()) static_cast<void>(cudaIpcCloseMemHandle(data));
  }
}

IpcView IpcChannel::view() const {
  IpcView view = {};
  for (size_t r = 0; r < mapped_.size(); ++r) view.inboxes[r] = mapped_[r];
  view.rounds = static_cast<uint32_t*>(rounds_.data());
  view.fault = static_cast<IpcFault*>(fault_.data());
  view.timeout_ns = static_cast<uint64_t>(control_.timeout().count()) * 1'000'000;
  view.slot_bytes = static_cast<uint32_t>(slot_bytes_);
  view.rank = control_.rank();
  view.size = control_.size();
  return view;
}

bool IpcChannel::MapPeers() {
  Invitation mine = {};
  mine.boot_id = BootId();
  mine.process = getpid();
  mine.limits = {cuda::DeviceAttribute(cudaDevAttrMultiProcessorCount),
                 cuda::DeviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)};
  limits_ = mine.limits;
  const bool can_share = cudaIpcGetMemHandle(&mine.handle, inbox_.data()) == cudaSuccess;
  std::string bytes(sizeof mine, '\0');
  std::memcpy(bytes.data(), &mine, sizeof mine);
  const std::vector<std::string> all = control_.AllGather(bytes);
  bool mapped_all = can_share;
  for (int r = 0; r < control_.size(); ++r) {
    auto& place = mapped_[static_cast<size_t>(r)];
    if (r == control_.rank()) {
      place = static_cast<std::byte*>(inbox_.data());
      continue;
    }
    Invitation peer = {};
    CHECK_EQ(all[static_cast<size_t>(r)].size(), sizeof peer);
    std::memcpy(&peer, all[static_cast<size_t>(r)].data(), sizeof peer);
    limits_.multiprocessors = std::min(limits_.multiprocessors, peer.limits.multiprocessors);
    limits_.shared_bytes = std::min(limits_.shared_bytes, peer.limits.shared_bytes);
    void* data = nullptr;
    mapped_all =
        mapped_all && peer.boot_id == mine.boot_id && peer.process != mine.process &&
        cudaIpcOpenMemHandle(&data, peer.handle, cudaIpcMemLazyEnablePeerAccess) == cudaSuccess;
    place = static_cast<std::byte*>(data);
  }
  static_cast<void>(cudaGetLastError());  // GPUs that cannot reach each other: not an error
  return mapped_all;
}

// A kernel that gives up sets the fault, lingers, and ends the context: so this message comes
// before those of the calls that then fail.
void IpcChannel::Watch() {
  constexpr auto kInterval = std::chrono::milliseconds(100);
  SetFailureRank(control_.rank());
  const auto* fault = static_cast<const IpcFault*>(fault_.data());
  std::unique_lock lock(mutex_);
  while (!end_.wait_for(lock, kInterval, [this] { return ended_; })) {
    if (fault->set == 0) continue;
    Die("rank " + std::to_string(control_.rank()) + " waited longer than " +
        std::to_string(control_.timeout().count()) + " ms in " +
        NameOf(static_cast<IpcCall>(fault->call)) + " for rank " + std::to_string(fault->peer) +
        " (round " + std::to_string(fault->round) + " on the GPU)");
  }
}

}  // namespace tamis
