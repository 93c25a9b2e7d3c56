// SPDX-License-Identifier: Apache-2.0
// Small tensors: one meeting, then every rank reduces everything. Large ones go through in chunks
// of two meetings, between which each rank reduces its slice once for all.
#include "parallel/shared_collectives.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel/reduce.h"
#include "parallel/shard.h"
#include "parallel/shared_exchange.h"

namespace tamis {
namespace {

constexpr size_t kSlotBytes = size_t{256} << 10;
constexpr size_t kWholeBytes = size_t{32} << 10;  // above this, slices

class SharedCollectives final : public Collectives {
 public:
  SharedCollectives(const World& world, Control& control)
      : rank_(world.rank),
        size_(world.size),
        exchange_(world, control, kSlotBytes),
        parts_(static_cast<size_t>(world.size)) {}

  bool valid() const { return exchange_.valid(); }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  bool capturable() const override { return false; }

  void AllReduce(TensorView x, ReduceOp op, const Stream&) override {
    CheckReducible(x);
    const auto item_bytes = static_cast<int64_t>(DTypeBytes(x.dtype));
    const int64_t chunk_items = static_cast<int64_t>(exchange_.slot_bytes()) / item_bytes;
    for (int64_t begin = 0; begin < x.elements(); begin += chunk_items) {
      const int64_t count = std::min(chunk_items, x.elements() - begin);
      std::byte* chunk = static_cast<std::byte*>(x.data) + begin * item_bytes;
      std::memcpy(exchange_.mine(), chunk, static_cast<size_t>(count * item_bytes));
      if (static_cast<size_t>(count * item_bytes) <= kWholeBytes) {
        ReduceWhole(chunk, count, x.dtype, op);
      } else {
        ReduceBySlices(chunk, count, x.dtype, op);
      }
    }
  }

  void AllGather(TensorView out, ConstTensorView x, const Stream&) override {
    constexpr uint64_t kGather = 1;
    CheckGatherable(out, x, size_);
    const auto* from = static_cast<const std::byte*>(x.data);
    auto* to = static_cast<std::byte*>(out.data);
    for (size_t begin = 0; begin < x.bytes(); begin += exchange_.slot_bytes()) {
      const size_t bytes = std::min(exchange_.slot_bytes(), x.bytes() - begin);
      std::memcpy(exchange_.mine(), from + begin, bytes);
      exchange_.Meet(bytes << 8 | kGather, "Collectives::AllGather");
      for (int r = 0; r < size_; ++r) {
        std::memcpy(to + static_cast<size_t>(r) * x.bytes() + begin, exchange_.Of(r), bytes);
      }
    }
  }

 private:
  void ReduceWhole(std::byte* chunk, int64_t count, DType dtype, ReduceOp op) {
    MeetToReduce(count, dtype, op);
    for (int r = 0; r < size_; ++r) parts_[static_cast<size_t>(r)] = exchange_.Of(r);
    ReduceInRankOrder(chunk, parts_.data(), size_, count, dtype, op);
  }

  void ReduceBySlices(std::byte* chunk, int64_t count, DType dtype, ReduceOp op) {
    const size_t item_bytes = DTypeBytes(dtype);
    MeetToReduce(count, dtype, op);
    const Slice mine = SplitEvenly(count, rank_, size_);
    const size_t offset = static_cast<size_t>(mine.begin) * item_bytes;
    for (int r = 0; r < size_; ++r) parts_[static_cast<size_t>(r)] = exchange_.Of(r) + offset;
    ReduceInRankOrder(exchange_.mine() + offset, parts_.data(), size_, mine.count, dtype, op);
    MeetToReduce(count, dtype, op);
    for (int r = 0; r < size_; ++r) {
      const Slice slice = SplitEvenly(count, r, size_);
      const size_t begin = static_cast<size_t>(slice.begin) * item_bytes;
      std::memcpy(chunk + begin, exchange_.Of(r) + begin,
                  static_cast<size_t>(slice.count) * item_bytes);
    }
  }

  void MeetToReduce(int64_t count, DType dtype, ReduceOp op) {
    constexpr uint64_t kReduce = 2;
    const uint64_t what =
        kReduce | static_cast<uint64_t>(op) << 2 | static_cast<uint64_t>(dtype) << 4;
    exchange_.Meet(static_cast<uint64_t>(count) << 8 | what, "Collectives::AllReduce");
  }

  int rank_;
  int size_;
  SharedExchange exchange_;
  std::vector<const void*> parts_;  // [W]
};

}  // namespace

std::unique_ptr<Collectives> MakeSharedCollectives(const World& world, Control& control) {
  auto collectives = std::make_unique<SharedCollectives>(world, control);
  if (!collectives->valid()) return nullptr;
  return collectives;
}

}  // namespace tamis
