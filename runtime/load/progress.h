// SPDX-License-Identifier: Apache-2.0
// Shows how far loading is: a bar on a terminal; otherwise a line every 10 % or 5 seconds, so that
// a log stays short and a slow disk still shows life.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>

#include "runtime/load/load_model.h"

namespace tamis {

// One per load. Not thread-safe.
class ProgressPrinter {
 public:
  using Clock = std::chrono::steady_clock;

  // `write` gets what to show: on a terminal text as it is, else a line without its end. `now` is
  // the clock.
  ProgressPrinter(bool terminal, std::function<void(std::string_view)> write,
                  std::function<Clock::time_point()> now);
  void Update(uint64_t done_bytes, uint64_t total_bytes);

 private:
  bool terminal_;
  std::function<void(std::string_view)> write_;
  std::function<Clock::time_point()> now_;
  Clock::time_point start_;
  Clock::time_point shown_at_;
  uint64_t shown_percent_ = 0;
  bool finished_ = false;
};

// For Load, on rank 0: a bar on stderr if that is a terminal, else lines for `log`. On other ranks
// it does nothing.
LoadProgress ShowProgress(int rank, std::function<void(std::string_view line)> log);

}  // namespace tamis
