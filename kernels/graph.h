// SPDX-License-Identifier: Apache-2.0
// A fixed list of GPU work, recorded once and queued by one call afterwards.
#pragma once

#include <utility>

#include "kernels/device.h"

struct CUgraphExec_st;

namespace tamis {

// Owns a captured CUDA graph. Move-only. Whatever it was captured over (tensors, scratch, pinned
// memory) must outlive it: addresses and sizes are recorded, contents are read at every launch.
class Graph {
 public:
  // Records what `queue` queues on `stream`, whose work it does not run. The same calls have run
  // once before: modules load and algorithms are chosen at first use. Dies if `queue` does what
  // cannot be recorded (waiting for the stream, allocating).
  template <typename Queue>
  static Graph Capture(const Stream& stream, const Queue& queue) {
    BeginCapture(stream);
    queue();
    return EndCapture(stream);
  }

  Graph(Graph&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Graph();

  void Launch(const Stream& stream) const;

 private:
  explicit Graph(CUgraphExec_st* handle) : handle_(handle) {}
  static void BeginCapture(const Stream& stream);
  static Graph EndCapture(const Stream& stream);

  CUgraphExec_st* handle_;
};

}  // namespace tamis
