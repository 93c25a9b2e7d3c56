// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench/read_ceiling.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels/check.h"

namespace tamis::bench {
namespace {

constexpr int kRuns = 3;

// Lanes that do not wait for each other, so that memory is what limits it.
uint64_t Sum(const uint64_t* values, size_t count) {
  constexpr size_t kLanes = 16;
  uint64_t sums[kLanes] = {};
  for (size_t i = 0; i + kLanes <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += values[i + lane];
  }
  for (size_t lane = 1; lane < kLanes; ++lane) sums[0] += sums[lane];
  return sums[0];
}

double CpuReadCeiling(int num_threads) {
  const Buffer buffer(MemoryKind::kCpu, kCpuCeilingBytes, "read ceiling");
  std::memset(buffer.data(), 1, buffer.bytes());
  const size_t count = buffer.bytes() / sizeof(uint64_t) / static_cast<size_t>(num_threads);
  std::atomic<uint64_t> sink{0};  // keeps the reads alive
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (int t = 0; t < num_threads; ++t) {
      const uint64_t* values =
          static_cast<const uint64_t*>(buffer.data()) + static_cast<size_t>(t) * count;
      threads.emplace_back([&sink, values, count] { sink += Sum(values, count); });
    }
    for (std::thread& thread : threads) thread.join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::max(best, static_cast<double>(buffer.bytes()) / took.count());
  }
  CHECK(sink != 0);
  return best;
}

}  // namespace

double ReadCeiling(DeviceKind device, int cpu_threads) {
  return device == DeviceKind::kCuda ? CudaReadCeiling() : CpuReadCeiling(cpu_threads);
}

}  // namespace tamis::bench
