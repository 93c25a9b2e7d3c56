// SPDX-License-Identifier: Apache-2.0
// A tensor goes through in chunks, so that the pinned memory is fixed at start-up.
#include "parallel/staged_collectives.h"

#include <algorithm>

#include "parallel/reduce.h"

namespace tamis {
namespace {

constexpr size_t kStagedChunkBytes = size_t{1} << 20;

class StagedCollectives final : public Collectives {
 public:
  explicit StagedCollectives(Collectives& host)
      : host_(host),
        mine_(MemoryKind::kPinned, kStagedChunkBytes, "staged collectives"),
        all_(MemoryKind::kPinned, kStagedChunkBytes * static_cast<size_t>(host.size()),
             "staged collectives") {}

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  bool capturable() const override { return false; }

  void AllReduce(TensorView x, ReduceOp op, const Stream& stream) override {
    CheckReducible(x, x.device);
    const auto item_bytes = static_cast<int64_t>(DTypeBytes(x.dtype));
    const int64_t chunk_items = static_cast<int64_t>(kStagedChunkBytes) / item_bytes;
    for (int64_t begin = 0; begin < x.elements(); begin += chunk_items) {
      const int64_t count = std::min(chunk_items, x.elements() - begin);
      std::byte* chunk = static_cast<std::byte*>(x.data) + begin * item_bytes;
      const TensorView staged = mine_.View({count}, x.dtype);
      CopyBytes(staged.data, DeviceKind::kCpu, chunk, x.device, staged.bytes(), stream);
      stream.Synchronize();
      host_.AllReduce(staged, op, Stream::Cpu());
      CopyBytes(chunk, x.device, staged.data, DeviceKind::kCpu, staged.bytes(), stream);
      stream.Synchronize();
    }
  }

  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override {
    CheckGatherable(out, x, size(), x.device);
    const auto item_bytes = static_cast<int64_t>(DTypeBytes(x.dtype));
    const int64_t chunk_items = static_cast<int64_t>(kStagedChunkBytes) / item_bytes;
    for (int64_t begin = 0; begin < x.elements(); begin += chunk_items) {
      const int64_t count = std::min(chunk_items, x.elements() - begin);
      const TensorView staged = mine_.View({count}, x.dtype);
      const TensorView gathered = all_.View({size(), count}, x.dtype);
      CopyBytes(staged.data, DeviceKind::kCpu,
                static_cast<const std::byte*>(x.data) + begin * item_bytes, x.device,
                staged.bytes(), stream);
      stream.Synchronize();
      host_.AllGather(gathered, staged, Stream::Cpu());
      for (int r = 0; r < size(); ++r) {
        std::byte* to = static_cast<std::byte*>(out.data) + (r * x.elements() + begin) * item_bytes;
        CopyBytes(to, out.device, Rows(gathered, r, 1).data, DeviceKind::kCpu, staged.bytes(),
                  stream);
      }
      stream.Synchronize();
    }
  }

 private:
  Collectives& host_;
  Buffer mine_;
  Buffer all_;  // [W, kStagedChunkBytes]
};

}  // namespace

std::unique_ptr<Collectives> MakeStagedCollectives(Collectives& host) {
  return std::make_unique<StagedCollectives>(host);
}

}  // namespace tamis
