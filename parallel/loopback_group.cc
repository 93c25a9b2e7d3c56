// SPDX-License-Identifier: Apache-2.0
// Ranks as threads of one process. Every call is two meetings at a hub: at the first all ranks
// have posted what they bring, between the two each works on its share, after the second nobody
// reads the others' memory any more.
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/check.h"
#include "parallel/groups.h"
#include "parallel/reduce.h"
#include "parallel/shard.h"

namespace tamis {
namespace {

// What a rank brings to a call. `what` and `bytes` must agree over ranks where the call says so.
struct Post {
  std::string what;
  void* data = nullptr;
  size_t bytes = 0;
};

// Where the threads meet. A rank that has ended can never come, so waiting for it dies at once.
class Hub {
 public:
  explicit Hub(int size) : posts_(static_cast<size_t>(size)) {}

  int size() const { return static_cast<int>(posts_.size()); }

  // The first meeting of a call: posts, and returns when all ranks have. Dies when they are in
  // different calls.
  void Meet(int rank, Post post, std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    posts_[static_cast<size_t>(rank)] = std::move(post);
    if (arrived_ + 1 == size()) CheckSameCall();
    AwaitAll(rank, timeout, lock);
  }

  // The second meeting of a call: returns when no rank reads the posts any more.
  void Part(int rank, std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    AwaitAll(rank, timeout, lock);
  }

  // Valid between the two meetings of a call.
  const Post& post(int rank) const { return posts_[static_cast<size_t>(rank)]; }

  void End() {
    const std::scoped_lock lock(mutex_);
    ++ended_;
    changed_.notify_all();
  }

 private:
  void AwaitAll(int rank, std::chrono::milliseconds timeout, std::unique_lock<std::mutex>& lock) {
    if (++arrived_ == size()) {
      arrived_ = 0;
      ++meetings_;
      changed_.notify_all();
      return;
    }
    const uint64_t meeting = meetings_;
    changed_.wait_for(lock, timeout, [&] { return meetings_ != meeting || ended_ > 0; });
    if (meetings_ != meeting) return;
    std::ostringstream message;
    message << "rank " << rank << " in " << post(rank).what << ": ";
    if (ended_ > 0) {
      message << ended_ << " of " << size() << " ranks have ended";
    } else {
      message << "only " << arrived_ << " of " << size() << " ranks came in " << timeout.count()
              << " ms";
    }
    Die(message.str());
  }

  void CheckSameCall() const {
    for (int r = 1; r < size(); ++r) {
      CHECK_EQ(post(r).what, post(0).what) << "rank " << r << " and rank 0 are in different calls";
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Post> posts_;  // written under mutex_ before a meeting, read freely after it
  int arrived_ = 0;          // guarded by mutex_
  int ended_ = 0;            // guarded by mutex_
  uint64_t meetings_ = 0;    // guarded by mutex_
};

class LoopbackControl final : public Control {
 public:
  LoopbackControl(Hub& hub, int rank) : hub_(hub), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return hub_.size(); }

  void Broadcast(std::string* bytes) override {
    hub_.Meet(rank_, {"Control::Broadcast", bytes, 0}, timeout());
    if (rank_ != 0) *bytes = *static_cast<const std::string*>(hub_.post(0).data);
    hub_.Part(rank_, timeout());
  }

  std::vector<std::string> AllGather(std::string_view bytes) override {
    hub_.Meet(rank_, {"Control::AllGather", &bytes, 0}, timeout());
    std::vector<std::string> all;
    for (int r = 0; r < size(); ++r) {
      all.emplace_back(*static_cast<const std::string_view*>(hub_.post(r).data));
    }
    hub_.Part(rank_, timeout());
    return all;
  }

 private:
  Hub& hub_;
  int rank_;
};

class LoopbackCollectives final : public Collectives {
 public:
  LoopbackCollectives(Hub& hub, const Control& control) : hub_(hub), control_(control) {}
  int rank() const override { return control_.rank(); }
  int size() const override { return control_.size(); }
  bool capturable() const override { return false; }

  // Each rank reduces its slice and writes it into every rank's tensor.
  void AllReduce(TensorView x, ReduceOp op, const Stream&) override {
    CheckReducible(x);
    Meet("AllReduce", x);
    const Slice mine = SplitEvenly(x.elements(), rank(), size());
    const size_t item_bytes = DTypeBytes(x.dtype);
    const size_t offset = static_cast<size_t>(mine.begin) * item_bytes;
    std::vector<const void*> parts;
    for (int r = 0; r < size(); ++r) parts.push_back(At(r, offset));
    if (mine.count > 0) {
      ReduceInRankOrder(At(rank(), offset), parts.data(), size(), mine.count, x.dtype, op);
      const size_t bytes = static_cast<size_t>(mine.count) * item_bytes;
      for (int r = 0; r < size(); ++r) {
        if (r != rank()) std::memcpy(At(r, offset), At(rank(), offset), bytes);
      }
    }
    hub_.Part(rank(), control_.timeout());
  }

  void AllGather(TensorView out, ConstTensorView x, const Stream&) override {
    CheckGatherable(out, x, size());
    Meet("AllGather", x);
    for (int r = 0; r < size() && !x.empty(); ++r) {
      std::memcpy(static_cast<std::byte*>(out.data) + static_cast<size_t>(r) * x.bytes(), At(r, 0),
                  x.bytes());
    }
    hub_.Part(rank(), control_.timeout());
  }

 private:
  void Meet(const char* call, const ConstTensorView& x) {
    const std::string what =
        std::string(call) + " of " + DTypeName(x.dtype) + " " + x.shape.ToString();
    // The post keeps one pointer type for inputs and outputs; inputs are only read.
    hub_.Meet(rank(), {what, const_cast<void*>(x.data), x.bytes()}, control_.timeout());
  }
  std::byte* At(int rank, size_t offset) const {
    return static_cast<std::byte*>(hub_.post(rank).data) + offset;
  }

  Hub& hub_;
  const Control& control_;  // for rank, size and the timeout
};

}  // namespace

void RunLoopback(int size, const std::function<void(int rank, Group& group)>& body) {
  CHECK_GE(size, 1);
  Hub hub(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([rank, &hub, &body] {
      SetFailureRank(rank);
      Group group;
      group.control = std::make_unique<LoopbackControl>(hub, rank);
      group.collectives = std::make_unique<LoopbackCollectives>(hub, *group.control);
      body(rank, group);
      hub.End();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tamis
