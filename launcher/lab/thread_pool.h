// SPDX-License-Identifier: Apache-2.0
// Threads that share out the rows of a step's host work.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tamis {

class ThreadPool {
 public:
  // `num_threads` in all, the caller's among them.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Runs body(0) ... body(count - 1), in any order, and returns when all are done. One caller.
  void For(int64_t count, const std::function<void(int64_t)>& body);

 private:
  void Work();
  void Serve();

  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void(int64_t)>* body_ = nullptr;  // under mutex_
  int64_t count_ = 0;                                   // under mutex_
  uint64_t round_ = 0;                                  // under mutex_
  int busy_ = 0;                                        // under mutex_
  bool stop_ = false;                                   // under mutex_
  std::atomic<int64_t> next_{0};
  std::vector<std::thread> threads_;
};

}  // namespace tamis
