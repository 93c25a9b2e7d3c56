// SPDX-License-Identifier: Apache-2.0
#include "runtime/server/encode_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tamis {

EncodePool::EncodePool(int num_threads, size_t queued_bytes_max)
    : queued_bytes_max_(queued_bytes_max) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Work(); });
}

EncodePool::~EncodePool() {
  {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status EncodePool::Run(size_t bytes, std::function<void()> job) {
  if (bytes <= kShortBytes) {
    job();
    return absl::OkStatus();
  }
  {
    const std::scoped_lock lock(mutex_);
    if (!queue_.empty() && queued_bytes_ + bytes > queued_bytes_max_) {
      return absl::ResourceExhaustedError(absl::StrCat(
          queued_bytes_ >> 20, " MiB of text wait for the tokenizer; try again later"));
    }
    queued_bytes_ += bytes;
    queue_.push_back({bytes, std::move(job)});
  }
  changed_.notify_one();
  return absl::OkStatus();
}

void EncodePool::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ended_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= job.bytes;
    lock.unlock();
    job.run();
    job.run = nullptr;  // what it holds goes without the lock
    lock.lock();
  }
}

}  // namespace tamis
