// SPDX-License-Identifier: Apache-2.0
// Where the time of a stream of ops goes: an event after each op, summed up by kind.
#pragma once

#include <cuda_runtime_api.h>

#include <utility>
#include <vector>

#include "kernels/cuda/check_cuda.h"
#include "kernels/device.h"

namespace tamis::bench {

class EventTimer {
 public:
  EventTimer(const Stream& stream, int kinds)
      : stream_(stream), seconds_(static_cast<size_t>(kinds)) {}
  EventTimer(const EventTimer&) = delete;
  EventTimer& operator=(const EventTimer&) = delete;
  ~EventTimer() {
    for (const auto& [event, kind] : marks_) static_cast<void>(cudaEventDestroy(event));
  }

  void Start() { Mark(0); }
  // What has been enqueued since the last mark is of this kind.
  void Mark(int kind) {
    cudaEvent_t event = nullptr;
    CheckCuda(cudaEventCreate(&event));
    CheckCuda(cudaEventRecord(event, stream_.cuda()));
    marks_.emplace_back(event, kind);
  }
  // Waits for the last mark and sums up.
  void Finish() {
    CheckCuda(cudaEventSynchronize(marks_.back().first));
    for (size_t i = 1; i < marks_.size(); ++i) {
      seconds_[static_cast<size_t>(marks_[i].second)] +=
          Between(marks_[i - 1].first, marks_[i].first);
    }
    total_ = Between(marks_.front().first, marks_.back().first);
  }
  double Seconds(int kind) const { return seconds_[static_cast<size_t>(kind)]; }
  double TotalSeconds() const { return total_; }

 private:
  static double Between(cudaEvent_t begin, cudaEvent_t end) {
    float ms = 0;
    CheckCuda(cudaEventElapsedTime(&ms, begin, end));
    return static_cast<double>(ms) / 1000;
  }

  const Stream& stream_;
  std::vector<std::pair<cudaEvent_t, int>> marks_;
  std::vector<double> seconds_;
  double total_ = 0;
};

}  // namespace tamis::bench
