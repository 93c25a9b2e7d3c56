// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/bench_progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace tamis {
namespace {

constexpr int64_t kBarWidth = 40;

}  // namespace

BenchProgress::BenchProgress(std::string what, int64_t total)
    : what_(std::move(what)),
      total_(std::max<int64_t>(1, total)),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

BenchProgress::~BenchProgress() {
  if (terminal_ && shown_ >= 0) std::fputc('\n', stderr);
}

double BenchProgress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void BenchProgress::Update(int64_t done) {
  const int64_t percent = std::clamp<int64_t>(100 * done / total_, 0, 100);
  const int64_t shown = terminal_ ? percent : percent / 10 * 10;
  if (shown == shown_) return;
  shown_ = shown;
  if (!terminal_) {
    std::fprintf(stderr, "%s: %ld %%, %.1f s\n", what_.c_str(), static_cast<long>(shown),
                 seconds());
    return;
  }
  const std::string bar(static_cast<size_t>(kBarWidth * percent / 100), '#');
  std::fprintf(stderr, "\r%s [%-*s] %3ld %%, %.0f s", what_.c_str(), static_cast<int>(kBarWidth),
               bar.c_str(), static_cast<long>(percent), seconds());
  std::fflush(stderr);
}

}  // namespace tamis
