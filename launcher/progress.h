// SPDX-License-Identifier: Apache-2.0
// How far loading is: a bar that redraws itself on a terminal, otherwise a log line every 5 s.
#pragma once

#include <chrono>
#include <cstdint>

namespace tamis {

// Used by one thread.
class Progress {
 public:
  // Says nothing unless `visible`.
  explicit Progress(bool visible);
  void Update(uint64_t done_bytes, uint64_t total_bytes);

 private:
  bool visible_;
  bool terminal_;
  bool finished_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace tamis
