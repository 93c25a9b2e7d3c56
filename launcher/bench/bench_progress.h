// SPDX-License-Identifier: Apache-2.0
// How far a long benchmark is: a bar on a terminal, else a line every ten percent.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace tamis {

// Writes to stderr. Not thread-safe.
class BenchProgress {
 public:
  // `total` may be an estimate: more than that shows as all of it.
  BenchProgress(std::string what, int64_t total);
  ~BenchProgress();
  BenchProgress(const BenchProgress&) = delete;
  BenchProgress& operator=(const BenchProgress&) = delete;

  void Update(int64_t done);
  double seconds() const;

 private:
  std::string what_;
  int64_t total_;
  bool terminal_;
  int64_t shown_ = -1;  // percent
  std::chrono::steady_clock::time_point start_;
};

}  // namespace tamis
