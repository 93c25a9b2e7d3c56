// SPDX-License-Identifier: Apache-2.0
// Where long texts are tokenised: threads of their own, few, with a bounded queue. gRPC has as few
// as two threads that read, write and answer health checks for everybody.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace tamis {

class EncodePool {
 public:
  static constexpr size_t kShortBytes = size_t{64} << 10;  // encoded in a few milliseconds

  // `queued_bytes_max` bounds the texts that wait.
  explicit EncodePool(int num_threads = 2, size_t queued_bytes_max = size_t{256} << 20);
  // Runs what is queued.
  ~EncodePool();
  EncodePool(const EncodePool&) = delete;
  EncodePool& operator=(const EncodePool&) = delete;

  // Runs `job`, which encodes `bytes` of text: here and now if they are few, else later on a thread
  // of the pool. RESOURCE_EXHAUSTED, and the job is dropped, where too much waits already.
  absl::Status Run(size_t bytes, std::function<void()> job);

 private:
  struct Job {
    size_t bytes;
    std::function<void()> run;
  };
  void Work();

  const size_t queued_bytes_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;    // guarded by mutex_
  size_t queued_bytes_ = 0;  // guarded by mutex_
  bool ended_ = false;       // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace tamis
