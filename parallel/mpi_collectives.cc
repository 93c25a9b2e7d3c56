// SPDX-License-Identifier: Apache-2.0
// Host collectives by point-to-point MPI messages, for ranks on several hosts. MPI's own
// reductions promise no order; these sum in rank order, so that every transport gives equal bits.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/check.h"
#include "parallel/bounded_wait.h"
#include "parallel/mpi_check.h"
#include "parallel/mpi_group.h"
#include "parallel/reduce.h"
#include "parallel/shard.h"

namespace tamis {
namespace {

constexpr int kCollectiveTag = 3;
// A tensor goes through in chunks of this size, so that the scratch is fixed at start-up.
constexpr size_t kChunkBytes = size_t{256} << 10;
// Up to here each rank sends all it has to all; above, each reduces a slice and sends the sum.
constexpr size_t kGatheredBytesMax = size_t{16} << 10;

class MpiCollectives final : public Collectives {
 public:
  explicit MpiCollectives(const MpiControl& control)
      : control_(control),
        inbox_(static_cast<size_t>(control.size()) * kChunkBytes),
        parts_(static_cast<size_t>(control.size())) {
    requests_.reserve(2 * parts_.size());
  }
  int rank() const override { return control_.rank(); }
  int size() const override { return control_.size(); }
  bool capturable() const override { return false; }

  void AllReduce(TensorView x, ReduceOp op, const Stream&) override {
    CheckReducible(x);
    const auto item_bytes = static_cast<int64_t>(DTypeBytes(x.dtype));
    const int64_t chunk_items = static_cast<int64_t>(kChunkBytes) / item_bytes;
    for (int64_t begin = 0; begin < x.elements(); begin += chunk_items) {
      const int64_t count = std::min(chunk_items, x.elements() - begin);
      std::byte* chunk = static_cast<std::byte*>(x.data) + begin * item_bytes;
      if (static_cast<size_t>(count * item_bytes) <= kGatheredBytesMax) {
        ReduceWhole(chunk, count, x.dtype, op);
      } else {
        ReduceBySlices(chunk, count, x.dtype, op);
      }
    }
  }

  void AllGather(TensorView out, ConstTensorView x, const Stream&) override {
    CheckGatherable(out, x, size());
    const auto* from = static_cast<const std::byte*>(x.data);
    auto* to = static_cast<std::byte*>(out.data);
    for (size_t begin = 0; begin < x.bytes(); begin += kChunkBytes) {
      const size_t bytes = std::min(kChunkBytes, x.bytes() - begin);
      for (int peer = 0; peer < size(); ++peer) {
        std::byte* place = to + static_cast<size_t>(peer) * x.bytes() + begin;
        if (peer == rank()) {
          std::memmove(place, from + begin, bytes);
        } else {
          Receive(place, bytes, peer);
          Send(from + begin, bytes, peer);
        }
      }
      Wait("Collectives::AllGather");
    }
  }

 private:
  // Where rank `peer`'s contribution arrives.
  std::byte* Inbox(int peer) { return inbox_.data() + static_cast<size_t>(peer) * kChunkBytes; }

  void ReduceWhole(std::byte* chunk, int64_t count, DType dtype, ReduceOp op) {
    const size_t bytes = static_cast<size_t>(count) * DTypeBytes(dtype);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      Receive(Inbox(peer), bytes, peer);
      Send(chunk, bytes, peer);
    }
    Wait("Collectives::AllReduce");
    ReduceInbox(chunk, count, dtype, op);
  }

  // Each rank gets its slice from all, reduces it, and sends the result to all.
  void ReduceBySlices(std::byte* chunk, int64_t count, DType dtype, ReduceOp op) {
    const size_t item_bytes = DTypeBytes(dtype);
    const auto slice_of = [&](int peer) { return SplitEvenly(count, peer, size()); };
    const auto bytes_of = [&](int peer) {
      return static_cast<size_t>(slice_of(peer).count) * item_bytes;
    };
    const auto place_of = [&](int peer) {
      return chunk + static_cast<size_t>(slice_of(peer).begin) * item_bytes;
    };
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      Receive(Inbox(peer), bytes_of(rank()), peer);
      Send(place_of(peer), bytes_of(peer), peer);
    }
    Wait("Collectives::AllReduce");
    ReduceInbox(place_of(rank()), slice_of(rank()).count, dtype, op);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      Receive(place_of(peer), bytes_of(peer), peer);
      Send(place_of(rank()), bytes_of(rank()), peer);
    }
    Wait("Collectives::AllReduce");
  }

  // mine = op over ranks of what arrived, with `mine` in this rank's place.
  void ReduceInbox(std::byte* mine, int64_t count, DType dtype, ReduceOp op) {
    for (int peer = 0; peer < size(); ++peer) parts_[static_cast<size_t>(peer)] = Inbox(peer);
    parts_[static_cast<size_t>(rank())] = mine;
    ReduceInRankOrder(mine, parts_.data(), size(), count, dtype, op);
  }

  void Send(const void* data, size_t bytes, int peer) {
    requests_.push_back(MPI_REQUEST_NULL);
    CheckMpi(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, peer, kCollectiveTag,
                       control_.comm(), &requests_.back()));
  }
  void Receive(void* data, size_t bytes, int peer) {
    requests_.push_back(MPI_REQUEST_NULL);
    CheckMpi(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, peer, kCollectiveTag,
                       control_.comm(), &requests_.back()));
  }
  void Wait(const char* call) {
    const auto done = [&] {
      int flag = 0;
      CheckMpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &flag,
                           MPI_STATUSES_IGNORE));
      return flag != 0;
    };
    PollUntil(done, rank(), call, control_.timeout());
    requests_.clear();
  }

  const MpiControl& control_;
  std::vector<std::byte> inbox_;    // [W, kChunkBytes]
  std::vector<const void*> parts_;  // [W]
  std::vector<MPI_Request> requests_;
};

}  // namespace

std::unique_ptr<Collectives> MakeMpiCollectives(const MpiControl& control) {
  return std::make_unique<MpiCollectives>(control);
}

}  // namespace tamis
