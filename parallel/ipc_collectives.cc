// SPDX-License-Identifier: Apache-2.0
#include "parallel/ipc_collectives.h"

#include <algorithm>

#include "parallel/ipc_channel.h"
#include "parallel/ipc_kernels.h"
#include "parallel/reduce.h"

namespace tamis {
namespace {

class IpcCollectives final : public Collectives {
 public:
  explicit IpcCollectives(std::unique_ptr<IpcChannel> channel) : channel_(std::move(channel)) {}

  int rank() const override { return channel_->control().rank(); }
  int size() const override { return channel_->control().size(); }
  bool capturable() const override { return true; }

  void AllReduce(TensorView x, ReduceOp op, const Stream& stream) override {
    CheckReducible(x, DeviceKind::kCuda);
    const auto item_bytes = static_cast<int64_t>(DTypeBytes(x.dtype));
    const int64_t chunk_items = static_cast<int64_t>(cuda::kIpcRoundBytes) / item_bytes;
    for (int64_t begin = 0; begin < x.elements(); begin += chunk_items) {
      const int64_t count = std::min(chunk_items, x.elements() - begin);
      cuda::IpcAllReduce(static_cast<std::byte*>(x.data) + begin * item_bytes, count, x.dtype, op,
                         channel_->view(), stream);
    }
  }

  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override {
    CheckGatherable(out, x, size(), DeviceKind::kCuda);
    for (size_t begin = 0; begin < x.bytes(); begin += cuda::kIpcRoundBytes) {
      const size_t bytes = std::min(cuda::kIpcRoundBytes, x.bytes() - begin);
      cuda::IpcAllGather(static_cast<std::byte*>(out.data) + begin, x.bytes(),
                         static_cast<const std::byte*>(x.data) + begin, bytes, channel_->view(),
                         stream);
    }
  }

  void AllReduceAddRmsNorm(TensorView out, TensorView residual, TensorView x,
                           ConstTensorView weight, float eps, const Stream& stream) override {
    CheckReducible(x, DeviceKind::kCuda);
    if (x.empty()) return;
    if (!cuda::IpcCanNorm(out, residual, x, weight, channel_->limits())) {
      Collectives::AllReduceAddRmsNorm(out, residual, x, weight, eps, stream);
      return;
    }
    cuda::IpcAllReduceAddRmsNorm(out, residual, x, weight, eps, channel_->view(), stream);
  }

  void ExchangeTopK(const TopKExchange& lists, const CandidateView& candidates, Slice peers,
                    Scratch& scratch, const Stream& stream) override {
    const Shape& shape = lists.positions.shape;  // [S, Hs, k_max]
    if (shape[0] * shape[1] > cuda::IpcExchangeRowsMax(shape[2], size(), channel_->limits())) {
      Collectives::ExchangeTopK(lists, candidates, peers, scratch, stream);
      return;
    }
    cuda::IpcExchangeTopK(lists, candidates, peers, channel_->view(), stream);
  }

 private:
  std::unique_ptr<IpcChannel> channel_;
};

}  // namespace

std::unique_ptr<Collectives> MakeIpcCollectives(Control& control) {
  std::unique_ptr<IpcChannel> channel = IpcChannel::Open(control, cuda::kIpcSlotBytes);
  if (channel == nullptr) return nullptr;
  cuda::IpcLoadReduceKernels(control.size());
  cuda::IpcLoadGatherKernels(control.size());
  cuda::IpcLoadExchangeKernels(control.size(), channel->limits());
  Barrier(control);
  return std::make_unique<IpcCollectives>(std::move(channel));
}

}  // namespace tamis
