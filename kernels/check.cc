// SPDX-License-Identifier: Apache-2.0
#include "kernels/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace tamis {
namespace {

std::atomic<int> process_rank{-1};
thread_local int thread_rank = -1;

}  // namespace

void SetFailureRank(int rank) {
  thread_rank = rank;
  process_rank.store(rank, std::memory_order_relaxed);
}

int FailureRank() {
  return thread_rank >= 0 ? thread_rank : process_rank.load(std::memory_order_relaxed);
}

void Die(std::string_view message, std::source_location site) {
  // One write, so that lines of several ranks do not interleave.
  const std::string line = "[rank " + std::to_string(FailureRank()) + "] " + site.file_name() +
                           ":" + std::to_string(site.line()) + " " + site.function_name() + ": " +
                           std::string(message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
  std::abort();
}

}  // namespace tamis
